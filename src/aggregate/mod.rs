//! Pure folds: accumulators whose state depends on the set of inputs only, and their bytes.

mod acc;
pub mod codec;
mod sum;
mod value;

pub use acc::{Acc, AccKind, Change, Input};
pub use sum::ExactSum;
pub use value::Value;
