//! The command line: parse, assemble, run; one file a command (clap's and indicatif's only room).
//!
//! Always holds: results go to stdout, everything else to stderr; an error is one `error: ...` that says what to do,
//! and the exit code says what kind it is. Left out: anything that decides a value.

mod answer;
mod archive;
mod ask;
mod config;
mod demo;
mod diff;
mod explain;
mod feast_repo;
mod follow;
mod get;
mod history;
mod instant;
mod logging;
mod manifests;
mod materialize;
mod open;
mod output;
mod pipeline;
mod plan;
mod process;
mod progress;
mod redrive;
mod rows;
mod run;
mod schema;
mod serve;
mod settings;
mod signals;
mod status;
mod test;
mod tidy;
mod training_data;
mod validate;
mod verify;
mod versions;
mod why;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

/// Printed below `kappa --help`, and in docs/operations.md.
const EXIT_CODES: &str = "\
Exit codes:
    0  done, or drained after SIGTERM or Ctrl-C
    1  a defect of kappa
    2  the topology, the settings or the command line is wrong: mend it
    3  refused, because it would break a promise: choose one of the remedies named
    4  Kafka, a store or the running process does not answer: wait and try again
    5  a record or the log cannot be processed under the rules: the task stopped at the position named
    6  our own state cannot be read or written: free the disk, then start again
    7  kappa test: some cases failed: mend the topology, or what they expect; kappa verify: some values differ
  130  interrupted before work began, or a second time";

#[derive(Debug, Parser)]
#[command(name = "kappa", version, about, long_about = None, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the stores fresh: Kafka to features, online and offline
    Run(run::Args),
    /// Keep the raw log of a topology's topic beyond its retention: Kafka to Parquet
    Archive(archive::Args),
    /// Rebuild as a new version, with dead letters that the log no longer has
    Redrive(redrive::Args),
    /// Fill an online store from the history, without a replay: a Redis that is new or was lost
    Materialize(materialize::Args),
    /// Make large files of the history's small ones
    Compact(tidy::CompactArgs),
    /// Remove files of the history that no state within the retention needs
    Vacuum(tidy::VacuumArgs),
    /// List, register or forget the manifests of training files that a vacuum respects
    Manifests(manifests::Args),
    /// Answer for features over HTTP from the online store, without a pipeline
    Serve(serve::Args),
    /// Check a topology, and name every problem in it
    Validate(validate::Args),
    /// Run a topology's own cases: events in, expected rows and values out; needs no Kafka
    Test(test::Args),
    /// Print the JSON Schema of topologies, for editors
    Schema(schema::Args),
    /// Show what a topology costs and does
    Explain(explain::Args),
    /// Print the Feast repository of a topology: entities, feature views, sources, and both doors online
    FeastRepo(feast_repo::Args),
    /// Say what a changed topology would change, and what rebuilding it takes, before anything runs
    Plan(plan::Args),
    /// Show how the values of two versions differ, before one takes over
    Diff(diff::Args),
    /// Print the features of one entity as they stand
    Get(get::Args),
    /// Print the rows of one entity from the offline store, oldest first
    History(history::Args),
    /// Join labels with the history: training data as it was known at each label's time
    TrainingData(Box<training_data::Args>),
    /// List the versions: where each stands, how far it has come
    Versions(versions::Args),
    /// Make a version the one that serves
    Promote(versions::OneArgs),
    /// Go back to the version that was live before
    Rollback(versions::RollbackArgs),
    /// Remove a version that does not serve, with its state
    Drop(versions::OneArgs),
    /// Stop feeding a version that does not serve
    Pause(versions::OneArgs),
    /// Feed a version again
    Resume(versions::OneArgs),
    /// List the tiles and the offsets behind a feature's value, read from the log again
    Why(why::Args),
    /// Hold what was served against the history and the log
    Verify(verify::Args),
    /// Show where a running process stands
    Status(status::Args),
    /// Print the effective settings, secrets hidden
    Config(config::Args),
    /// See all of it in under a minute: broker, events, features, history
    Demo(demo::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A panic is a defect like any other: its message is on stderr, its exit code the documented one.
    match catch_unwind(AssertUnwindSafe(|| dispatch(&cli.command))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // Where stderr is a file on a full disk the exit code still says what happened.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(Error::internal("a panic").exit_code()),
    }
}

fn dispatch(command: &Command) -> Result<()> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Archive(args) => archive::run(args),
        Command::Redrive(args) => redrive::run(args),
        Command::Materialize(args) => materialize::run(args),
        Command::Compact(args) => tidy::compact(args),
        Command::Vacuum(args) => tidy::vacuum(args),
        Command::Manifests(args) => manifests::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Test(args) => test::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Explain(args) => explain::run(args),
        Command::FeastRepo(args) => feast_repo::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Get(args) => get::run(args),
        Command::History(args) => history::run(args),
        Command::TrainingData(args) => training_data::run(args),
        Command::Versions(args) => versions::list(args),
        Command::Promote(args) => versions::promote(args),
        Command::Rollback(args) => versions::rollback(args),
        Command::Drop(args) => versions::drop_version(args),
        Command::Pause(args) => versions::pause(args),
        Command::Resume(args) => versions::resume(args),
        Command::Why(args) => why::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Status(args) => status::run(args),
        Command::Config(args) => config::run(args),
        Command::Demo(args) => demo::run(args),
    }
}

/// Does a command's asynchronous work: sinks, HTTP, signals. Its threads end with the process and are not taken down
/// before: what is still on its way when the work ends, such as a store that was being opened when the stop came, is
/// given up as a kill would, and whoever waits for it in the libraries is not told that its threads are gone (they panic).
/// All that is to last was committed within the work.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("kappa-io")
        .build()
        .map_err(|error| Error::internal(format!("no threads for input and output: {error}")))?;
    let threads = std::mem::ManuallyDrop::new(threads);
    threads.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_its_flags_in_any_order() {
        let line = "kappa run --again shop.yaml --replay-from 0 --set workers=2 --until-caught-up --brokers a:1";
        let Command::Run(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!("not run") };
        assert!(args.again && args.until_caught_up && args.replay_from.is_some());
    }

    #[test]
    fn every_exit_code_is_documented() {
        use crate::error::ErrorKind::*;
        for kind in [Internal, Configuration, Refused, Unavailable, Stopped, State, Unmet] {
            let code = Error::new(kind, "").exit_code();
            let listed = |text: &str, mark: &str| text.lines().any(|line| line.trim_start().starts_with(mark));
            assert!(listed(EXIT_CODES, &format!("{code}  ")), "{kind:?} is not in the help");
            let operations = include_str!("../../docs/operations.md");
            assert!(listed(operations, &format!("| {code} |")), "{kind:?} is not in docs/operations.md");
        }
    }
}
