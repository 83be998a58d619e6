//! docs/python.md as it stands: its programs in their order, over a real run, and what they print.

use std::path::{Path, PathBuf};
use std::process::Command;

use kappa::source::{Codec, Record};

use crate::first_topology::{is_shown, python};
use crate::support::duckdb::offer_delta_to_duckdb;
use crate::support::running::{Live, free_address, is_ready, wait_until};
use crate::support::verify::Place;
use crate::support::{kafka, page, producer};

const PAGE: &str = include_str!("../../docs/python.md");
const SHOP: &str = include_str!("../../topologies/shop.yaml");
/// 2026-01-05T09:00Z.
const NINE: i64 = 1_767_603_600_000;

/// The page's morning: the minute, and what is said.
const EVENTS: [(i64, &str); 9] = [
    (0, r#""user_id":"ana","event":"view","item_id":"i1","category":"books""#),
    (1, r#""user_id":"ben","event":"view","item_id":"i1","category":"books""#),
    (5, r#""user_id":"ana","event":"view","item_id":"i2","category":"toys""#),
    (6, r#""user_id":"ana","event":"click","item_id":"i1","category":"books""#),
    (10, r#""user_id":"ana","event":"purchase","item_id":"i1","category":"books","price":12.5,"quantity":2"#),
    (20, r#""user_id":"ben","event":"view","item_id":"i3","category":"garden""#),
    (30, r#""user_id":"ben","event":"purchase","item_id":"i3","category":"garden","price":30.0,"quantity":1"#),
    (40, r#""user_id":"ana","event":"view","item_id":"i3","category":"garden""#),
    (45, r#""user_id":"zoe","event":"view","item_id":"i1","category":"books""#),
];

/// A program, and what stands below it.
struct Block {
    language: &'static str,
    code: &'static str,
    output: &'static str,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (language, text) in page::blocks(PAGE) {
        match language {
            "text" => blocks.last_mut().expect("an output stands below a program").output = text,
            language => blocks.push(Block { language, code: text, output: "" }),
        }
    }
    blocks
}

/// What the page's programs run over: a run that has come to its end, and a server; both end with it.
struct Morning {
    place: Place<'static>,
    folder: tempfile::TempDir,
    address: String,
    _server: Live,
}

impl Morning {
    fn new() -> Self {
        let (folder, place) = (tempfile::tempdir().unwrap(), Place::new(kafka::shared()));
        let topic = kafka::shared().new_topic("morning", 1);
        std::fs::create_dir(folder.path().join("topologies")).unwrap();
        let topology = folder.path().join("topologies/shop.yaml");
        std::fs::write(&topology, SHOP.replace("shop.events", &topic)).unwrap();
        let values = EVENTS.map(|(minute, fields)| {
            let ts = NINE + minute * 60_000;
            (ts, format!("{{{fields},\"ts\":{ts}}}"))
        });
        let record = |(ts, value): &'static (i64, String)| Record {
            partition: Some(0),
            key: value.split('"').nth(3).map(str::as_bytes),
            value: Some(value.as_bytes()),
            time: Some(*ts),
            ..Record::default()
        };
        producer::write(kafka::shared(), &topic, Codec::None, Vec::leak(values.to_vec()).iter().map(record));
        let name = topology.display().to_string();
        let mut run = place.kappa(&["run", &name, "--until-caught-up"]);
        let ran = run.args(["--set", "online.redis.formats=hash,feast"]).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let (address, listen) = free_address();
        let mut serve = place.kappa(&["serve", &name]);
        serve.args(["--set", &listen, "--set", "http.read_timeout=10s"]);
        let server = Live::spawn(serve);
        wait_until("the server is ready", || is_ready(&address));
        Self { place, folder, address, _server: server }
    }

    /// Runs one program of the page; what it prints.
    fn run(&self, block: &Block) -> String {
        let program = match block.language {
            "sh" => PathBuf::from("bash"),
            "python" => python(),
            "python feast" => environment("feast"),
            "python torch" => environment("torch"),
            other => panic!("a block of `{other}`: say how it is to be tested"),
        };
        let mut command = Command::new(program);
        if block.language.starts_with("python") {
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/leave.py"));
        }
        let path = [Path::new(env!("CARGO_BIN_EXE_kappa")).parent().unwrap(), environment("feast").parent().unwrap()]
            .map(|folder| folder.display().to_string())
            .join(":");
        let file = self.folder.path().join("block");
        std::fs::write(&file, block.code).unwrap();
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")) {
            command.env_remove(name);
        }
        let output = command
            .arg("block")
            .current_dir(self.folder.path())
            .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
            .env("REDIS", format!("127.0.0.1:{}", self.place.redis.port()))
            .env("KAPPA_ONLINE__REDIS__URL", self.place.redis.url())
            .env("SERVER", &self.address)
            .env("LAKE", self.place.path("offline"))
            .env("KAPPA_OFFLINE__URL", self.place.path("offline"))
            .env("KAPPA_HTTP__LISTEN", &self.address)
            .env("KAPPA_DATA_DIR", self.place.path("data"))
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}{failed}\nin\n{}", block.code);
        said.trim_end().to_string()
    }

    fn holds(&self, languages: &[&str]) -> usize {
        let blocks: Vec<Block> = blocks().into_iter().filter(|block| languages.contains(&block.language)).collect();
        let mut wrong = Vec::new();
        for block in &blocks {
            let (Block { code, output, .. }, printed) = (block, self.run(block));
            if !is_shown(output, &printed) {
                wrong.push(format!("the page shows\n{output}\nand it prints\n{printed}\nafter\n{code}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        blocks.len()
    }
}

/// The Python of one of the environments that scripts/deps.sh makes.
fn environment(name: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    home.join(format!(".cache/kappa/venv-{name}/bin/python3"))
}

#[test]
fn every_program_of_the_page_prints_what_stands_below_it() {
    let morning = Morning::new();
    offer_delta_to_duckdb(&python(), morning.folder.path());
    assert_eq!(morning.holds(&["python", "sh", "python feast"]), 7);
}

#[test]
#[ignore = "needs PyTorch, which is large: make python-torch"]
fn the_pages_training_file_goes_into_pytorch() {
    let morning = Morning::new();
    let polars = blocks().into_iter().find(|block| block.code.contains("write_parquet")).unwrap();
    morning.run(&polars);
    assert_eq!(morning.holds(&["python torch"]), 1);
}
