"""What can be said of the files alone: rules, their tests, the dashboard, the compose file, the environment."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

from stack import DOCKER, ROOT, SERVICES, image_environment, kappa, program

RULES = DOCKER / "prometheus/alerts.yml"
TESTS = DOCKER / "prometheus/alerts.test.yml"
BOARD = DOCKER / "grafana/dashboards/kappa.json"
OPERATIONS = ROOT / "docs/operations.md"


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def board():
    return json.loads(BOARD.read_text())


def panels():
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def promtool(*arguments):
    done = subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def prometheus():
    """promtool accepts the configuration, the rules and their tests."""
    for command in (["check", "config", DOCKER / "prometheus/prometheus.yml"], ["test", "rules", TESTS]):
        good, text = promtool(*command)
        assert good, text
    return f"{len(alerts())} alerts, {len(yaml.safe_load(TESTS.read_text())['tests'])} made-up runs"


def every_alert_is_tested():
    """The made-up runs in which an alert should fire fail when it never does."""
    every = yaml.safe_load(TESTS.read_text())["tests"]
    with tempfile.TemporaryDirectory() as folder:
        rules, tests = Path(folder) / RULES.name, Path(folder) / TESTS.name
        for alert in alerts():
            named = f'alertname="{alert["alert"]}"'
            of_it = [test for test in every if named in json.dumps(test).replace("\\", "")]
            assert of_it, f"{alert['alert']}: no run in alerts.test.yml lets it fire"
            document = {"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": of_it}
            tests.write_text(yaml.safe_dump(document))
            never = {"alert": alert["alert"], "expr": "vector(0) > 1"}
            others = [never if rule == alert else rule for rule in alerts()]
            rules.write_text(yaml.safe_dump({"groups": [{"name": "kappa", "rules": others}]}))
            assert not promtool("test", "rules", tests)[0], f"{alert['alert']} need not fire in its own test"
    return f"{len(alerts())} alerts"


def runbooks():
    """Every alert says how bad it is and leads to a heading of the runbook."""
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for alert in alerts():
        file, anchor = alert["annotations"]["runbook"].split("#")
        assert ROOT / file == OPERATIONS and anchor in anchors, f"{alert['alert']}: no heading for {anchor}"
        assert alert["labels"]["severity"] in ("page", "ticket") and alert["annotations"]["description"]


def dashboard():
    """Panels have a title, a description, queries and a place of their own; the provisioning finds the file."""
    every = board()["panels"]
    assert len({panel["id"] for panel in every}) == len(every), "two panels with one id"
    taken = set()
    for panel in every:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, f"{panel['title']}: overlaps"
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["targets"], panel
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/kappa.yaml").read_text())["providers"][0]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    source = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert [each["url"] for each in source] == ["http://prometheus:9090"]
    return f"{len(panels())} panels"


def compose():
    """Images are pinned, mounts exist, ports stay on this machine, and what waits for health has one to wait for."""
    for name, service in SERVICES.items():
        assert "build" in service or ":" in service["image"], f"{name}: no version"
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith(".") or (DOCKER / source).exists(), f"{name}: {source} is not there"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), f"{name}: open to the world"
        for other, on in service.get("depends_on", {}).items():
            healthy = "healthcheck" in SERVICES[other] or on["condition"] == "service_completed_successfully"
            assert healthy, f"{name} waits for {other}, which cannot be healthy"
    targets = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    listen = image_environment()["KAPPA_HTTP__LISTEN"].split(":")[1]
    assert targets[0]["static_configs"] == [{"targets": [f"kappa:{listen}"]}], "prometheus scrapes another port"
    return f"{len(SERVICES)} services"


def environment():
    """Kappa accepts the environment of the image and of the compose file, and reads what it says."""
    env = {**image_environment(), **SERVICES["kappa"]["environment"]}
    done = subprocess.run([kappa(), "config"], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    for key, value in env.items():
        found = shown
        for part in key.removeprefix("KAPPA_").lower().split("__"):
            found = found[part]
        assert str(found) == value, f"{key} is {value} and becomes {found}"
    return f"{len(env)} keys"
