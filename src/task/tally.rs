//! What a task counts beside its state, for metrics: where its entities were found, and which values it lost.

use crate::topology::Plan;

/// Counts since they were last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entities that a record or a timer found in memory.
    pub hits: u64,
    /// Entities that were not: read from the store, or new.
    pub misses: u64,
    /// By entity and feature: values in committed rows that are null for a bound or an overflow.
    pub lost: Vec<Vec<u64>>,
}

impl Tally {
    /// Nothing counted.
    pub fn new(plan: &Plan) -> Self {
        Self { lost: plan.entities.iter().map(|entity| vec![0; entity.features.len()]).collect(), ..Self::default() }
    }
}
