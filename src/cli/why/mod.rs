//! `kappa why`: the tiles and the offsets behind a feature's value, read from the log again.
//!
//! The value is folded anew from the list of the entity's records and held against what the history and the online
//! store say. Where the log has lost its beginning, what the state keeps stands beside it: tiles, without offsets.
//! Only Kafka has to answer: a store that does not is noted. Nothing is changed anywhere.

mod answer;
mod compare;
mod json;
mod kept;
mod log;
mod stored;
mod text;
mod words;

use std::sync::Arc;

use super::ask::EntityArgs;
use super::instant::read_instant;
use super::{open, output};
use crate::error::{Error, Result};
use crate::task::features_of;
use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME, Millis};
use crate::topology::{DerivedOn, EntityPlan, OutputType, Plan};
use answer::Answer;
pub use compare::is_near;
use stored::Stored;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    of: EntityArgs,
    /// A feature of it, or what is derived from its features
    feature: String,
    /// As of this event time, RFC 3339 or ms since 1970 [default: the newest that a store has, or the newest record]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    at: Option<Millis>,
    /// Print at most so many records, tiles, and offsets of a tile: the newest
    #[arg(long, value_name = "RECORDS", default_value_t = 50)]
    limit: usize,
    /// The version to compare with [default: the running process's, or the live one in data_dir]
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
}

/// What is asked for, found in the plan.
struct Question {
    plan: Arc<Plan>,
    /// Index in the plan.
    entity: usize,
    id: String,
    subject: Subject,
    /// The features that it takes, by their indices in the entity's list.
    features: Vec<usize>,
}

/// A feature, or what is derived from some: its index in the entity's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Feature(usize),
    Derived(usize),
}

pub fn run(args: &Args) -> Result<()> {
    let EntityArgs { entity, id, topology, ask } = &args.of;
    let settings = ask.load()?;
    let plan = Arc::new(open::plan_or_only(topology.as_deref())?);
    let question = Question::new(&plan, entity, id, &args.feature)?;
    let stored = Stored::look(&settings, &question, args.version, args.at)?;
    let logs = log::read(&settings, &question, stored.partition())?;
    let answer = Answer::new(&settings, &question, &stored, logs, args.at)?;
    match ask.json {
        true => output::tree(&json::of(&answer, args.limit)?, true),
        false => output::print(&text::of(&answer, args.limit)?),
    }
}

impl Question {
    fn new(plan: &Arc<Plan>, entity: &str, id: &str, feature: &str) -> Result<Self> {
        open::entity(plan, entity)?;
        let (entity, of) = plan.entity(entity).ok_or_else(|| Error::internal("an entity that is there is not"))?;
        let (subject, features) = match of.features.iter().position(|one| one.name == feature) {
            Some(index) => (Subject::Feature(index), vec![index]),
            None => {
                let index =
                    of.derived.iter().position(|one| one.name == feature).ok_or_else(|| unknown(of, feature))?;
                (Subject::Derived(index), features_of(of, index))
            }
        };
        Ok(Self { plan: Arc::clone(plan), entity, id: id.to_string(), subject, features })
    }

    /// The plan of the entity.
    fn entity(&self) -> &EntityPlan {
        &self.plan.entities[self.entity]
    }

    /// The name of the feature that is asked for.
    fn name(&self) -> &str {
        match self.subject {
            Subject::Feature(index) => &self.entity().features[index].name,
            Subject::Derived(index) => &self.entity().derived[index].name,
        }
    }

    /// The type of its value.
    fn output_type(&self) -> &OutputType {
        match self.subject {
            Subject::Feature(index) => &self.entity().features[index].output_type,
            Subject::Derived(index) => &self.entity().derived[index].output_type,
        }
    }

    /// Whether equal inputs give equal bits; what is derived is as exact as it happens to be.
    fn is_exact(&self) -> bool {
        matches!(self.subject, Subject::Feature(index) if self.entity().features[index].is_exact())
    }

    /// Whether rows have it.
    fn is_stored(&self) -> bool {
        match self.subject {
            Subject::Feature(_) => true,
            Subject::Derived(index) => self.entity().derived[index].on == DerivedOn::Row,
        }
    }

    /// The SQL of what is derived.
    fn derived_sql(&self) -> Option<&str> {
        match self.subject {
            Subject::Feature(_) => None,
            Subject::Derived(index) => Some(self.entity().derived_exprs.canonical(self.entity().derived[index].expr)),
        }
    }
}

fn unknown(entity: &EntityPlan, feature: &str) -> Error {
    let features = entity.features.iter().map(|one| one.name.as_str());
    let known: Vec<&str> = features.chain(entity.derived.iter().map(|one| one.name.as_str())).collect();
    Error::configuration(format!("{} has no feature `{feature}`; it has: {}", entity.name, known.join(", ")))
}

fn parse_time(text: &str) -> Result<Millis, String> {
    let time = text.parse().ok().or_else(|| read_instant(text));
    time.filter(|time| (MIN_EVENT_TIME..=MAX_EVENT_TIME).contains(time))
        .ok_or_else(|| "write it like 2026-03-01T12:00:00Z, or in ms since 1970".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_milliseconds() {
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Ok(1500));
        assert_eq!(parse_time("-1500"), Ok(-1500));
        assert!(parse_time("yesterday").is_err() && parse_time("999999999999999999").is_err());
    }

    #[test]
    fn what_is_derived_takes_the_features_that_it_reads() {
        let shop = include_str!("../../../topologies/shop.yaml");
        let plan = Arc::new(crate::topology::parse("shop.yaml", shop).unwrap());
        let question = Question::new(&plan, "user", "u1", "conversion_rate_30d").unwrap();
        let names: Vec<&str> = question.features.iter().map(|i| question.entity().features[*i].name.as_str()).collect();
        assert_eq!(names, ["views_30d", "purchases_30d"]);
        assert!(question.is_stored() && !question.is_exact());
        let question = Question::new(&plan, "user", "u1", "time_since_last_click").unwrap();
        assert!(!question.is_stored());
        let error = Question::new(&plan, "user", "u1", "views").err().unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains("views_30d"), "{error}");
    }
}
