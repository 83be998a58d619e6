//! Pure folds: accumulators whose state depends on the set of inputs only, and their bytes.

mod acc;
mod buckets;
pub mod codec;
mod rich;
mod sketch;
mod sum;
mod value;

pub use acc::{Acc, AccKind, Change, Input, Item};
pub use buckets::Buckets;
pub use rich::{Rich, RichKind};
pub use sum::ExactSum;
pub use value::{Value, Wide};
