//! The read side: features as those who use them ask for them.
//!
//! `online` answers for a model server: stored text from the online store, brought to the clock; `answer` is what comes
//! of it. `clock` is the one place where values go on after their row: decayed sums, and what is derived `on: read`;
//! `kappa test` stands on it too. `training` joins labels with the history, at each label's clock. `materialize` fills an
//! online store from the history. `parse` is the way back from stored text to columns, `key` from the parts of a key to
//! an entity's id. Left out: HTTP and the command line, which only write the answers in their own forms.

mod answer;
mod clock;
#[cfg(test)]
pub mod fixture;
mod key;
mod materialize;
mod online;
mod parse;
#[cfg(test)]
mod tests;
pub mod training;

pub use answer::{Answer, AnswerColumn, Cell, Found, Status};
pub use clock::{Needed, at_clock};
pub use key::id_of;
pub use materialize::{Filled, Materializer};
pub use online::{Ask, ReadError, Reader, StoreDoor, shown_at};
pub use parse::InOrder;
