//! Pure windows: which inputs count at `T`, and when that changes. No store, no clock; sealed tiles go through a port.

mod extreme;
mod newest;
mod queue;
mod session;
mod stack;
mod tiles;
mod tumbling;

pub use extreme::{ExtremeSpec, Extremes, Which};
pub use newest::{Last, LastSpec, Since, SinceSpec};
pub use queue::{CHUNK_TILES, Chunks, Tile, TileSpec};
pub use session::{Joined, SessionSpec, Sessions};
pub use stack::{Stack, StackSpec};
pub use tiles::Tiles;
pub use tumbling::{Tumbling, TumblingSpec};
