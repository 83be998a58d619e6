//! `kappa schema`: prints the JSON Schema of the topology file, for editors.

use crate::error::Result;
use crate::topology;

/// The arguments of `kappa schema`: none.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Prints the schema.
pub fn run(_args: &Args) -> Result<()> {
    println!("{:#}", topology::json_schema());
    Ok(())
}
