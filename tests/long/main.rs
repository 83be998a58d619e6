//! The long programs beside the tests: they need minutes, or measure, so they are run by name and by nobody else.
//!
//!     cargo test --test long -- baseline-consume --brokers 127.0.0.1:9092 --topic bench
//!
//! Each subcommand is a file; each prints one line of JSON as its answer.

#[path = "../support/mod.rs"]
mod support;

mod against;
mod archive;
mod baseline;
mod bench;
mod determinism;
mod http_load;
mod measure;
mod produce;
mod replay;
mod serve;
mod served;
mod training;
mod verify;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "long", about = "Long tests and measurements")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// librdkafka's batch call alone: counts messages and bytes of a topic to its end.
    BaselineConsume(baseline::Arguments),
    /// The same, with serde_json into a borrowed struct of 7 of the event's 11 fields.
    BaselineDecode(baseline::Arguments),
    /// The project's own source, polled into batches and read, without decoding.
    BaselineSource(baseline::Arguments),
    /// The archive of a topic, read into batches without decoding.
    BaselineArchive(baseline::ArchiveArguments),
    /// Writes the benchmark's topic.
    ProduceBench(produce::Arguments),
    /// The benchmark: both limits, then the pipeline, in one run.
    Bench(bench::Arguments),
    /// Replays beside a version that serves: their speed, and how fresh the other stays.
    BenchReplay(replay::Arguments),
    /// Reading the archive beside reading Kafka, and replays from both.
    BenchArchive(archive::Arguments),
    /// Labels joined with a history in every mode: right, and how fast beside DuckDB, Polars and Feast.
    BenchTraining(training::Arguments),
    /// Features over HTTP, beside Feast's own server.
    BenchServe(serve::Arguments),
    /// Reads of a live run against its history, the law and training data.
    VerifyServed(served::Arguments),
    /// The long verification: live, replayed and killed, against the oracle.
    Verify(verify::Arguments),
    /// One log under different settings and accidents: the same rows.
    Determinism(determinism::Arguments),
    /// Starts a Kafka, prints its address, and keeps it until standard input ends.
    Kafka,
}

fn main() {
    match Arguments::parse().command {
        Command::BaselineConsume(arguments) => println!("{}", baseline::consume(&arguments)),
        Command::BaselineDecode(arguments) => println!("{}", baseline::decode(&arguments)),
        Command::BaselineSource(arguments) => println!("{}", baseline::source(&arguments)),
        Command::BaselineArchive(arguments) => println!("{}", baseline::archive(&arguments)),
        Command::ProduceBench(arguments) => println!("{}", produce::run(&arguments)),
        Command::Bench(arguments) => println!("{}", bench::run(&arguments)),
        Command::BenchReplay(arguments) => println!("{}", replay::run(&arguments)),
        Command::BenchArchive(arguments) => println!("{}", archive::run(&arguments)),
        Command::BenchTraining(arguments) => println!("{}", training::run(&arguments)),
        Command::BenchServe(arguments) => println!("{}", serve::run(&arguments)),
        Command::VerifyServed(arguments) => println!("{}", served::run(&arguments)),
        Command::Verify(arguments) => println!("{}", verify::run(&arguments)),
        Command::Determinism(arguments) => println!("{}", determinism::run(&arguments)),
        Command::Kafka => keep_kafka(),
    }
}

fn keep_kafka() {
    let kafka = support::kafka::Kafka::start_with_heap(768);
    println!("{}", kafka.brokers());
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
