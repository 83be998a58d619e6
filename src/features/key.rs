//! From the parts of a key to the id of an entity, in the form that tasks write: the text itself, an int64 in decimal,
//! or for several parts a JSON list without blanks.

use serde_json::Value;

use crate::topology::{EntityPlan, FieldType, Plan};

/// The id of the entity whose key fields have these values, in the order of its key.
///
/// # Errors
/// A sentence that names the field, the value and what it should be.
pub fn id_of(plan: &Plan, entity: &EntityPlan, parts: &[&Value]) -> Result<String, String> {
    let fields = entity.key.iter().map(|field| &plan.source.fields[*field]);
    for (field, part) in fields.zip(parts) {
        let (fits, expected) = match field.ty {
            FieldType::Int64 => (part.is_i64(), "an integer of 64 bits"),
            _ => (part.is_string(), "a string"),
        };
        if !fits {
            return Err(format!("{} of `{}` is not {expected}", shortened(part), field.name));
        }
    }
    Ok(match parts {
        [Value::String(text)] => text.clone(),
        [only] => only.to_string(),
        several => {
            let texts: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("[{}]", texts.join(","))
        }
    })
}

/// A value as JSON, but not all of a long one.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
