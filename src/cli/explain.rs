//! `kappa explain FILE`: prints what a topology will do: columns, shared tiles, timers, bytes of state, rows per event.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::topology::{self, Explanation};

/// The arguments of `kappa explain`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A topology file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Prints the explanation.
pub fn run(args: &Args) -> Result<()> {
    let explanation = Explanation::of(&topology::load(&args.file)?);
    if args.json {
        let text = serde_json::to_string_pretty(&explanation)
            .map_err(|error| Error::internal(format!("the explanation cannot be written as JSON: {error}")))?;
        println!("{text}");
    } else {
        print!("{explanation}");
    }
    Ok(())
}
