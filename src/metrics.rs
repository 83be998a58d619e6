//! The metrics (prometheus's only room).
