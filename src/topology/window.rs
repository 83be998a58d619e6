//! The windows: which records are aggregated.
//!
//! Always holds for the plan that comes out: positive windows, slides no longer than their window and at most
//! [`MAX_TILES`] of them in it, offsets within their window.

use super::keys::{self, WINDOWS, did_you_mean, listed};
use super::plan::Window;
use super::walk::{Section, Walk};
use super::yaml::{Mark, Node, Scalar};
use crate::time::{Millis, Span};

/// The bound `tiles per window`: the most slides that a sliding window may hold.
pub(super) const MAX_TILES: i64 = 1_000_000;

/// Slides that are chosen by themselves, the largest first.
const SLIDES: [Millis; 5] = [86_400_000, 3_600_000, 300_000, 60_000, 1_000];

/// The slide of a window that names none: the largest of 1 s, 1 m, 5 m, 1 h, 1 d that is at most a twelfth of it.
pub(super) fn default_slide(size: Millis) -> Option<Millis> {
    SLIDES.into_iter().find(|slide| *slide <= size / 12)
}

/// The bound on the records of a `last` window.
const MAX_LAST: u32 = 1_000;

impl Walk {
    /// Reads a feature's window.
    pub fn window(&mut self, section: &Section<'_>) -> Option<Window> {
        let (key, node) = section.get("window")?;
        let window = match node {
            Node::Mapping(_) => self.window_kind(section, key, node)?,
            _ => {
                let scalar = self.scalar(node, &section.place, "window", "a duration, `lifetime` or {session: 30m}")?;
                match scalar.text.as_str() {
                    "lifetime" => Window::Lifetime,
                    text if did_you_mean(text, ["lifetime"]).is_some() => {
                        let found = format!("window `{text}` is not known");
                        self.problem(scalar.mark, &section.place, found, "did you mean `lifetime`?");
                        return None;
                    }
                    _ => return self.sliding(section, scalar, "window"),
                }
            }
        };
        if let (Some((slide, _)), false) = (section.get("slide"), matches!(window, Window::Sliding { .. })) {
            let found = format!("`slide` beside the window `{window}`, which does not slide");
            self.problem(slide.mark, &section.place, found, "remove `slide`, or make the window a duration");
            return None;
        }
        Some(window)
    }

    /// A window that is a mapping: one kind, and what belongs to it.
    fn window_kind(&mut self, section: &Section<'_>, key: &Scalar, node: &Node) -> Option<Window> {
        let place = format!("{}: window", section.place);
        let inner = self.section(node, key.mark, &place, keys::WINDOW, &[])?;
        let kinds = || inner.entries().iter().filter(|(key, _)| WINDOWS.contains(&key.text.as_str()));
        let (kind, value) = match kinds().collect::<Vec<_>>().as_slice() {
            [(kind, value)] if !inner.excused => (*kind, *value),
            _ if inner.excused => return None,
            _ => {
                let remedy = format!("write exactly one of {}, like {{session: 30m}}", listed(WINDOWS.iter().copied()));
                self.problem(node.mark(), &section.place, "window is not of one kind", remedy);
                return None;
            }
        };
        for name in ["offset", "complete"] {
            if let (Some((key, _)), false) = (inner.get(name), kind.text == "tumbling") {
                let found = format!("`{name}` beside `{}`, which has none", kind.text);
                self.problem(key.mark, &place, found, "remove it, or make the window `tumbling`");
            }
        }
        match kind.text.as_str() {
            "session" => Some(Window::Session { gap: self.positive(&inner, "session")? }),
            "since" => Some(Window::Since { condition: self.condition(&inner, "since")? }),
            "last" => self.last(&inner, value),
            "tumbling" => self.tumbling(&inner),
            _ => {
                let scalar = self.scalar(value, &section.place, "sliding", "a duration")?;
                self.sliding(section, scalar, "sliding")
            }
        }
    }

    fn last(&mut self, inner: &Section<'_>, value: &Node) -> Option<Window> {
        if let Node::Scalar(scalar) = value
            && scalar.text != "0"
            && scalar.text.parse::<Span>().is_ok()
        {
            let found = format!("last `{}` is a length of time, not a number of records", scalar.text);
            self.problem(scalar.mark, &inner.place, found, format!("write `window: {}`", scalar.text));
            return None;
        }
        Some(Window::LastN { n: self.count(inner, "last", 1..=MAX_LAST)?? })
    }

    fn tumbling(&mut self, inner: &Section<'_>) -> Option<Window> {
        let offset = inner.get("offset").map(|(_, node)| (node.mark(), self.duration(inner, "offset")));
        let complete = self.one_of(inner, "complete", &["true", "false"]) == Some("true");
        let size = self.positive(inner, "tumbling")?;
        let Some((at, offset)) = offset else { return Some(Window::Tumbling { size, offset: 0, complete }) };
        let offset = offset?;
        if offset >= size {
            let found = format!("offset {} is not within the window of {}", Span(offset), Span(size));
            self.problem(at, &inner.place, found, "write one that is shorter than the window");
            return None;
        }
        Some(Window::Tumbling { size, offset, complete })
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
