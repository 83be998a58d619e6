//! What parts of a topology mean, in words: two things that mean different values have different words.

use crate::cli::test::times::Clock;
use crate::cli::test::value::Value;
use crate::time::Span;
use crate::topology::{Aggregate, By, EntityPlan, FeaturePlan, Field, FieldSource, Literal, OutputType, Plan, Window};

/// Times as dates.
const CLOCK: Clock = Clock { start: 0, relative: false };

/// `sum of price, where event = 'purchase', window 30d by 1d`.
pub fn feature(plan: &Plan, feature: &FeaturePlan) -> String {
    let mut words = format!("{} of {}", aggregate(&feature.aggregate), input(plan, feature));
    if let Some(condition) = feature.filter {
        words.push_str(&format!(", where {}", plan.exprs.canonical(condition)));
    }
    if let Some(by) = &feature.by {
        words.push_str(&format!(", by {}", bucket(plan, by)));
    }
    format!("{words}, window {}", window(plan, &feature.window))
}

/// What is aggregated.
pub fn input<'p>(plan: &'p Plan, feature: &FeaturePlan) -> &'p str {
    feature.input.map_or("*", |input| plan.exprs.canonical(input))
}

/// With every parameter that decides a value.
pub fn aggregate(aggregate: &Aggregate) -> String {
    match aggregate {
        Aggregate::Distinct { limit } => format!("distinct up to {limit}"),
        Aggregate::ApproxDistinct { precision } => format!("approx_distinct with precision {precision}"),
        Aggregate::Quantile { q, error } => format!("quantile {q} within {error}"),
        Aggregate::Quantiles { qs, error } => {
            let qs: Vec<String> = qs.iter().map(f64::to_string).collect();
            format!("quantiles {} within {error}", qs.join(" "))
        }
        Aggregate::TopK { k, limit } => format!("top_k {k} among up to {limit}"),
        plain => plain.to_string(),
    }
}

/// A window, with its condition.
pub fn window(plan: &Plan, window: &Window) -> String {
    match window {
        Window::Since { condition } => format!("since {}", plan.exprs.canonical(*condition)),
        plain => plain.to_string(),
    }
}

/// A bucket, with its bound.
pub fn bucket(plan: &Plan, by: &By) -> String {
    format!("{} up to {}", plan.exprs.canonical(by.bucket), by.buckets)
}

/// What is shown when nothing is left.
pub fn literal(literal: &Literal, ty: &OutputType) -> String {
    Value::constant(literal, ty).text(&CLOCK, false)
}

/// `double`, `string from header trace, null on error`.
pub fn field(field: &Field) -> String {
    let mut words = field.ty.to_string();
    match &field.from {
        FieldSource::Value(path) if *path == [field.name.as_str()] => {}
        FieldSource::Value(path) => words.push_str(&format!(" at {}", path.join("."))),
        FieldSource::Key => words.push_str(" from the Kafka key"),
        FieldSource::Header(name) => words.push_str(&format!(" from header {name}")),
    }
    if field.null_on_error {
        words.push_str(", null on error");
    }
    words
}

/// The names of an entity's key fields.
pub fn key(plan: &Plan, entity: &EntityPlan) -> String {
    let names: Vec<&str> = entity.key.iter().map(|&field| plan.source.fields[field].name.as_str()).collect();
    if names.len() == 1 { names[0].to_string() } else { format!("[{}]", names.join(", ")) }
}

/// A length, or the word for there is none.
pub fn span(length: Option<i64>, none: &str) -> String {
    length.map_or_else(|| none.to_string(), |length| Span(length).to_string())
}
