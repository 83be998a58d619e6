//! `kappa get`: the features of one entity as the online store has them.
//!
//! Through the running process when one answers, else from the store itself: an embedded store has one owner.

use serde_json::Value;

use super::ask::EntityArgs;
use super::process::Process;
use super::{asynchronous, open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::http::client;
use crate::sink::online::OnlineHash;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    of: EntityArgs,
}

pub fn run(Args { of: args }: &Args) -> Result<()> {
    let settings = args.ask.load()?;
    let hash = match running(args, &settings)? {
        Some(process) => from_process(&process, args)?,
        None => from_store(args, &settings)?,
    };
    let Some(hash) = hash else {
        eprintln!("nothing is stored for {} {:?}: every feature is empty", args.entity, args.id);
        return Ok(());
    };
    match args.ask.json {
        true => output::tree(&serde_json::json!(hash), true),
        false => {
            let rows: Vec<Vec<String>> = hash.into_iter().map(|(name, value)| vec![name, value]).collect();
            output::print(&output::table(&rows))
        }
    }
}

/// The running process, unless it runs another topology than the one asked for.
fn running<'a>(args: &EntityArgs, settings: &'a Settings) -> Result<Option<Process<'a>>> {
    let Some(process) = Process::find(settings)? else { return Ok(None) };
    let Some(file) = &args.topology else { return Ok(Some(process)) };
    let wanted = open::plan(file)?.topology;
    Ok(Some(process).filter(|process| process.topology() == Some(wanted.as_str())))
}

fn from_process(process: &Process<'_>, args: &EntityArgs) -> Result<Option<OnlineHash>> {
    let path = format!("/v1/features/{}?id={}", client::encode(&args.entity), client::encode(&args.id));
    let answer = process.get(&path)?;
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let said = || body.get("error").and_then(Value::as_str).unwrap_or(&answer.body).to_string();
    match answer.status {
        200 => {
            let values = body.get("values").cloned().unwrap_or(Value::Null);
            serde_json::from_value(values)
                .map(Some)
                .map_err(|error| Error::internal(format!("{path}: {error}: is the process of another release?")))
        }
        404 => Ok(None),
        400 => Err(Error::configuration(said())),
        500 => Err(Error::internal(said())),
        _ => Err(Error::unavailable(said())),
    }
}

fn from_store(args: &EntityArgs, settings: &Settings) -> Result<Option<OnlineHash>> {
    let plan = open::plan_or_only(args.topology.as_deref())?;
    let key = open::online_key(&plan, &args.entity, &args.id)?;
    asynchronous()?.block_on(async {
        let store = open::online_to_read(settings, &plan).await?;
        store.get(&key).await
    })
}
