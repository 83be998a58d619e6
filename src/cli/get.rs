//! `kappa get`: the features of one entity as they stand now.
//!
//! Through the running process when one answers, else from the store itself: an embedded store has one owner. Either way
//! it is the read side that answers, so what is computed as it is read is computed here too.

use serde_json::Value;

use super::answer::Answer;
use super::ask::EntityArgs;
use super::process::Process;
use super::{block_on, open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::http::{self, client};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these features, comma separated
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    names: Vec<String>,
    #[command(flatten)]
    of: EntityArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.of.ask.load()?;
    let answer = match running(&args.of, &settings)? {
        Some(process) => from_process(&process, args)?,
        None => from_store(args, &settings)?,
    };
    match answer {
        None => {
            eprintln!("nothing is stored for {} {:?}: every feature is empty", args.of.entity, args.of.id);
            Ok(())
        }
        Some(answer) if args.of.ask.json => output::print(&answer),
        Some(answer) => output::print(&table(&answer)?),
    }
}

/// The answer's JSON as lines: one for each feature.
fn table(answer: &str) -> Result<String> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| {
        Error::internal(format!("an answer is not understood: {error}: is the process of another release?"))
    })?;
    let mut rows = vec![["feature", "value", "status", "event time", "age ms", "version"].map(String::from).to_vec()];
    for (name, feature) in &answer.features.0 {
        let version = feature.version.map(|version| version.to_string()).unwrap_or_default();
        let (status, time) = (feature.status.clone(), feature.event_time.clone());
        rows.push(vec![name.clone(), feature.text(), status, time, feature.age_ms.to_string(), version]);
    }
    Ok(format!("{}\nposition {}\n", output::table(&rows), answer.position))
}

/// The running process, unless it runs another topology than the one asked for.
fn running(args: &EntityArgs, settings: &Settings) -> Result<Option<Process>> {
    let Some(process) = Process::find(settings)? else { return Ok(None) };
    let Some(file) = &args.topology else { return Ok(Some(process)) };
    let wanted = open::plan(file)?.topology;
    Ok(Some(process).filter(|process| process.topology() == Some(wanted.as_str())))
}

fn from_process(process: &Process, args: &Args) -> Result<Option<String>> {
    let (entity, id) = (client::encode(&args.of.entity), client::encode(&args.of.id));
    let names = match args.names.as_slice() {
        [] => String::new(),
        names => format!("&names={}", client::encode(&names.join(","))),
    };
    let answer = process.get(&format!("/v1/features/{entity}?id={id}{names}"))?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let said = || body.get("error").and_then(Value::as_str).unwrap_or(&answer.body).to_string();
    match answer.status {
        200 => Ok(Some(answer.body)),
        404 => Ok(None),
        400 => Err(Error::configuration(said())),
        500 => Err(Error::internal(said())),
        _ => Err(Error::unavailable(said())),
    }
}

fn from_store(args: &Args, settings: &Settings) -> Result<Option<String>> {
    let plan = open::plan_or_only(args.of.topology.as_deref())?;
    let store = open::online_to_read(settings, &plan)?;
    // Nobody waits for this one but a person: the store's own timeout is enough.
    let mut settings = settings.clone();
    settings.http.read_timeout = settings.online.redis.timeout;
    let reader = open::reader(&plan, &settings, Box::new(move || Ok(store.clone())));
    let names: Vec<&str> = args.names.iter().map(String::as_str).collect();
    let ask = reader.ask(reader.entity(&args.of.entity)?, &names)?.with_origin();
    let ids = [args.of.id.clone()];
    let answer = block_on(async { Ok(reader.read(&ask, &ids).await?) })?;
    let written = answer.get(0).map(|found| http::found_as_json(&args.of.entity, &args.of.id, &ask, &answer, &found));
    Ok(written.map(|json| String::from_utf8_lossy(&json).into_owned()))
}
