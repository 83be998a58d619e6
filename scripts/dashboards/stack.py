"""The programs of docker/compose.yaml without Docker: each with its settings from there, on free ports, in one folder.

Always holds: what was started is ended, however the test ends; nothing outside the folder is written but the caches in
~/.cache/kappa. What differs from the compose file is listed where it is changed: hosts, ports and folders.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
CACHE = Path.home() / ".cache/kappa"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
TOPIC, PARTITIONS = "shop.events", 4


def program(name):
    """The program's path: on PATH, or as scripts/deps.sh unpacked it."""
    found = shutil.which(name) or CACHE / "prometheus/usr/bin" / name
    if not Path(found).exists():
        raise SystemExit(f"{name} is not installed: run scripts/deps.sh dashboards")
    return str(found)


def kappa():
    """The built binary."""
    target = os.environ.get("CARGO_TARGET_DIR", str(CACHE / "target"))
    return f"{target}/debug/kappa"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(port, path, **query):
    """One answer: its status and its text; status 0 when nobody answers."""
    url = f"http://127.0.0.1:{port}{path}" + ("?" + urllib.parse.urlencode(query) if query else "")
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def until(what, condition, seconds=60):
    """Waits for a condition, and answers what it answered."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return answer


class Stack:
    """Kafka, Redis, Kappa, Prometheus and node_exporter."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.running = {}
        names = ("kafka", "controller", "outside", "redis", "kappa", "prometheus", "machine")
        self.port = {name: free_port() for name in names}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.running):
            self.end(name, signal.SIGKILL)

    def start(self, name, command, env=None):
        with open(self.folder / f"{name}.log", "ab") as log:
            env = {**os.environ, **(env or {})}
            self.running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=self.folder
            )

    def end(self, name, how=signal.SIGTERM):
        """Sends a signal, waits, and answers the exit code."""
        process = self.running.pop(name)
        process.send_signal(how)
        return process.wait(30)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def kafka(self):
        """The broker: hosts, ports and the folder are ours, the rest is the compose file's."""
        version = SERVICES["kafka"]["image"].split(":")[1]
        libs = CACHE / "kafka" / version / "libs"
        if not libs.is_dir():
            pom = ROOT / "tests/support/kafka/pom.xml"
            into = f"-DoutputDirectory={libs}"
            copy = ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", into, f"-Dkafka.version={version}"]
            subprocess.run(copy, check=True)
        env = SERVICES["kafka"]["environment"]
        ours = {"9092": self.port["kafka"], "9093": self.port["controller"], "29092": self.port["outside"]}
        lines = []
        for key, value in env.items():
            if key.startswith("KAFKA_") and key != "KAFKA_HEAP_OPTS":
                value = re.sub(r":(\d+)\b", lambda port: f":{ours[port[1]]}", str(value))
                value = re.sub(r"//:|kafka:|localhost:", lambda m: ("//" if "//" in m[0] else "") + "127.0.0.1:", value)
                name = key.removeprefix("KAFKA_").lower().replace("_", ".")
                lines.append(f"{name}={self.folder / 'kafka' if name == 'log.dirs' else value}")
        properties = self.folder / "server.properties"
        properties.write_text("\n".join(lines) + "\n")
        java = ["java", *env["KAFKA_HEAP_OPTS"].split(), "-XX:+UseSerialGC", "-Djava.awt.headless=true"]
        java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libs}/*"]
        tool = ["kafka.tools.StorageTool", "format", "-t", env["CLUSTER_ID"], "-c", str(properties)]
        subprocess.run(java + tool, check=True, stdout=subprocess.DEVNULL)
        self.start("kafka", java + ["kafka.Kafka", str(properties)])
        return f"127.0.0.1:{self.port['kafka']}"

    def redis(self):
        flags = shlex.split(SERVICES["redis"]["command"])
        folder = self.folder / "redis"
        folder.mkdir(exist_ok=True)
        self.start("redis", flags + ["--port", str(self.port["redis"]), "--bind", "127.0.0.1", "--dir", str(folder)])

    def kappa(self):
        """The environment is the image's and the compose file's; addresses and folders are ours."""
        env = {**image_environment(), **SERVICES["kappa"]["environment"]}
        env |= {
            "KAPPA_KAFKA__BROKERS": f"127.0.0.1:{self.port['kafka']}",
            "KAPPA_ONLINE__REDIS__URL": f"redis://127.0.0.1:{self.port['redis']}",
            "KAPPA_HTTP__LISTEN": f"127.0.0.1:{self.port['kappa']}",
            "KAPPA_DATA_DIR": str(self.folder / "data"),
            "KAPPA_OFFLINE__URL": str(self.folder / "data/offline"),
            # A test cannot wait for a minute.
            "KAPPA_OFFLINE__COMMIT_INTERVAL": "3s",
        }
        self.environment = env
        self.start("kappa", [kappa(), "run", str(ROOT / "topologies/shop.yaml")], env)

    def prometheus(self):
        """Scrapes and evaluates every second; the rules are the compose file's."""
        config = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(DOCKER / "prometheus" / file) for file in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{self.port[job['job_name']]}"]}]
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        listen = f"--web.listen-address=127.0.0.1:{self.port['prometheus']}"
        storage = f"--storage.tsdb.path={self.folder / 'prometheus'}"
        self.start("prometheus", [program("prometheus"), f"--config.file={file}", storage, listen])

    def machine(self):
        flags = [flag for flag in SERVICES["machine"]["command"].split() if "rootfs" not in flag]
        listen = f"--web.listen-address=127.0.0.1:{self.port['machine']}"
        self.start("machine", [program("prometheus-node-exporter"), *flags, listen])

    def ask(self, expression):
        """The series of an expression now; an error is an AssertionError."""
        status, text = get(self.port["prometheus"], "/api/v1/query", query=expression)
        answer = json.loads(text or "{}")
        if status != 200:
            raise AssertionError(f"{expression}: {answer.get('error', f'status {status}')}")
        return answer["data"]["result"]

    def value(self, expression):
        series = self.ask(expression)
        return float(series[0]["value"][1]) if series else None

    def alerts(self):
        """The names of the alerts that fire or are about to."""
        data = json.loads(get(self.port["prometheus"], "/api/v1/alerts")[1])["data"]
        return {alert["labels"]["alertname"] for alert in data["alerts"]}


def image_environment():
    """The ENV lines of the Dockerfile's last stage: the image is that one, those before it only build."""
    last = re.split(r"^FROM ", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)[-1]
    lines = re.findall(r"^ENV (.+)$", last, re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in shlex.split(line))
