//! Pure windows: which inputs count at `T`, and when that changes. No store, no clock; sealed tiles go through a port.

mod extreme;
mod session;
mod tiles;

pub use extreme::{ExtremeSpec, Extremes, Which};
pub use session::{Place, SessionSpec, Sessions};
pub use tiles::{CHUNK_TILES, Chunks, TileSpec, Tiles};
