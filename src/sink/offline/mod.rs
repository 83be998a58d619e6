//! The offline store: every feature row exactly once, in a Delta table per (topology, entity, version).
