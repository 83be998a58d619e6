//! The features: what is aggregated over which window.
//!
//! Always holds for the plan that comes out: one aggregate a feature, inputs of a type that the aggregate takes,
//! positive windows, slides no longer than their window and at most [`MAX_TILES`] of them in it.

use super::keys::{self, AGGREGATES, RESERVED, did_you_mean, is_feature_name, listed};
use super::plan::{Aggregate, FeaturePlan, ValueType, Window};
use super::walk::{Section, Walk};
use super::yaml::{Mark, Node, Scalar};
use crate::expr::ExprId;
use crate::time::{Millis, Span};

/// The bound `tiles per window`: the most slides that a sliding window may hold.
pub(super) const MAX_TILES: i64 = 100_000;

/// Slides that are chosen by themselves, the largest first.
const SLIDES: [Millis; 5] = [86_400_000, 3_600_000, 300_000, 60_000, 1_000];

/// The slide of a window that names none: the largest of 1 s, 1 m, 5 m, 1 h, 1 d that is at most a twelfth of it.
pub(super) fn default_slide(size: Millis) -> Option<Millis> {
    SLIDES.into_iter().find(|slide| *slide <= size / 12)
}

impl Walk {
    /// Reads an entity's features in the topology's order.
    pub fn features(&mut self, entity: &str, key: &Scalar, node: &Node, key_names: &[&str]) -> Vec<FeaturePlan> {
        let Some(mapping) = self.names(key, node, entity, "a feature") else { return vec![] };
        mapping.entries.iter().filter_map(|(name, node)| self.feature(name, node, key_names)).collect()
    }

    fn feature(&mut self, name: &Scalar, node: &Node, key_names: &[&str]) -> Option<FeaturePlan> {
        let place = format!("feature `{}`", name.text);
        self.feature_name(name, &place, key_names);
        let section = self.section(node, name.mark, &place, keys::FEATURE, keys::FEATURE_LATER)?;
        let input = self.aggregate(&section);
        let filter = section.get("where").is_some().then(|| self.condition(&section, "where"));
        let window = self.window(&section);
        let (aggregate, input, input_type) = input?;
        let output_type = match aggregate {
            Aggregate::Count => ValueType::Int64,
            Aggregate::Avg => ValueType::Double,
            _ => input_type,
        };
        let filter = match filter {
            Some(filter) => Some(filter?),
            None => None,
        };
        let (name, window) = (name.text.clone(), window?);
        Some(FeaturePlan { name, aggregate, input, filter, window, input_type, output_type })
    }

    fn feature_name(&mut self, name: &Scalar, place: &str, key_names: &[&str]) {
        let text = name.text.as_str();
        if text.starts_with('_') && is_feature_name(text) {
            self.problem(name.mark, place, "names that begin with `_` are Kappa's own", "begin it with a letter");
        } else if !is_feature_name(text) {
            self.problem(
                name.mark,
                place,
                "this is not a name for a feature",
                "use a to z, 0 to 9 and `_`, a letter first",
            );
        } else if RESERVED.contains(&text) {
            let found = "this is the name of a column that every feature row has";
            self.problem(name.mark, place, found, format!("choose another, like `{text}_value`"));
        } else if key_names.contains(&text) {
            let found = "this is the name of a field of the entity's key";
            self.problem(name.mark, place, found, format!("choose another, like `{text}_value`"));
        }
    }

    /// The aggregate, its input and the input's type.
    fn aggregate(&mut self, section: &Section<'_>) -> Option<(Aggregate, Option<ExprId>, ValueType)> {
        let mut given = section.entries().iter().filter(|(key, _)| AGGREGATES.contains(&key.text.as_str()));
        let Some((key, node)) = given.next() else {
            if !section.excused {
                let names = listed(AGGREGATES.iter().copied());
                self.problem(section.at, &section.place, "no aggregate", format!("give it one of {names}"));
            }
            return None;
        };
        if let Some((second, _)) = given.next() {
            let found = format!("has two aggregates, `{}` and `{}`", key.text, second.text);
            self.problem(second.mark, &section.place, found, "keep one and make the other a feature of its own");
            return None;
        }
        let what = key.text.as_str();
        let expected = if what == "count" { "\"*\" or an SQL expression" } else { "an SQL expression" };
        let sql = self.scalar(node, &section.place, what, expected)?;
        let aggregate = match what {
            "count" => Aggregate::Count,
            "sum" => Aggregate::Sum,
            "avg" => Aggregate::Avg,
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            _ => Aggregate::Last,
        };
        if sql.text.trim() == "*" {
            if aggregate == Aggregate::Count {
                return Some((aggregate, None, ValueType::Int64));
            }
            let found = format!("{what} of `*`, which is for count");
            self.problem(sql.mark, &section.place, found, "write a field or an SQL expression");
            return None;
        }
        let input = self.sql(sql, &section.place, what)?;
        let ty = if aggregate == Aggregate::Count { ValueType::Int64 } else { input.ty };
        let numeric = matches!(ty, ValueType::Int64 | ValueType::Double);
        if matches!(aggregate, Aggregate::Sum | Aggregate::Avg) && !numeric {
            let found = format!("{what} of `{}`, which is {ty}, needs int64 or double", sql.text);
            self.problem(sql.mark, &section.place, found, "cast it, like cast(x as double), or use count or last");
            return None;
        }
        Some((aggregate, Some(input.id), ty))
    }

    fn window(&mut self, section: &Section<'_>) -> Option<Window> {
        let (key, node) = section.get("window")?;
        let (kind, scalar) = match node {
            Node::Mapping(_) => {
                let place = format!("{}: window", section.place);
                let inner = self.section(node, key.mark, &place, keys::WINDOW, keys::WINDOW_LATER)?;
                match inner.entries() {
                    [(kind, node)] if !inner.excused => {
                        (kind.text.as_str(), self.scalar(node, &section.place, &kind.text, "a duration")?)
                    }
                    _ if inner.excused => return None,
                    _ => {
                        let remedy = "write exactly one of {session: 30m} and {sliding: 1h}";
                        self.problem(node.mark(), &section.place, "window is not of one kind", remedy);
                        return None;
                    }
                }
            }
            _ => ("window", self.scalar(node, &section.place, "window", "a duration, `lifetime` or {session: 30m}")?),
        };
        let window = match kind {
            "session" => Window::Session { gap: self.positive_span(scalar, &section.place, "session")? },
            "window" if scalar.text == "lifetime" => Window::Lifetime,
            "window" if did_you_mean(&scalar.text, ["lifetime"]).is_some() => {
                let found = format!("window `{}` is not known", scalar.text);
                self.problem(scalar.mark, &section.place, found, "did you mean `lifetime`?");
                return None;
            }
            _ => return self.sliding(section, scalar, kind),
        };
        if let Some((slide, _)) = section.get("slide") {
            let found = format!("`slide` beside the window `{window}`, which does not slide");
            self.problem(slide.mark, &section.place, found, "remove `slide`, or make the window a duration");
            return None;
        }
        Some(window)
    }

    fn sliding(&mut self, section: &Section<'_>, scalar: &Scalar, what: &str) -> Option<Window> {
        let size = self.positive_span(scalar, &section.place, what);
        let slide = section.get("slide").map(|(_, node)| (node, self.positive(section, "slide")));
        let size = size?;
        let Some((node, slide)) = slide else {
            let slide = default_slide(size);
            if slide.is_none() {
                let found = format!("window `{}` is under 12s and names no slide", scalar.text);
                self.problem(scalar.mark, &section.place, found, "add one, like `slide: 500ms`");
            }
            let slide = slide?;
            self.tiles(section, scalar.mark, size, slide)?;
            return Some(Window::Sliding { size, slide });
        };
        let slide = slide?;
        if slide > size {
            let found = format!("slide {} is longer than the window {}", Span(slide), Span(size));
            self.problem(node.mark(), &section.place, found, "write one that is at most the window");
            return None;
        }
        self.tiles(section, node.mark(), size, slide)?;
        Some(Window::Sliding { size, slide })
    }

    /// The bound on tiles.
    fn tiles(&mut self, section: &Section<'_>, at: Mark, size: Millis, slide: Millis) -> Option<()> {
        let tiles = size / slide + i64::from(size % slide != 0);
        if tiles <= MAX_TILES {
            return Some(());
        }
        let enough = |slide: &Millis| size.div_euclid(*slide) < MAX_TILES;
        let least = SLIDES.into_iter().rev().find(enough).unwrap_or(size / MAX_TILES + 1);
        let found = format!(
            "window {} by slides of {} has {tiles} tiles, over the bound tiles per window ({MAX_TILES})",
            Span(size),
            Span(slide)
        );
        self.problem(at, &section.place, found, format!("write a longer slide, like {}", Span(least)));
        None
    }
}
