"""What only a running Kappa can tell: that every query finds its series, and that trouble looks as the rules say."""

import os
import re
import signal
import subprocess
import time

from files import OPERATIONS, alerts, board, panels
from stack import DOCKER, get, kappa, until

# Queries that find nothing in a healthy run, each with its reason; they must find something in a sick one.
EMPTY = {'ALERTS{alertname=~"Kappa.*"}': "nothing fires"}
# Metrics that no panel shows, each with its reason.
NOT_SHOWN = {
    "kappa_watermark_delay_seconds": "the panel takes the clock and the watermark, which hold while a task waits",
}
# Metrics of others.
FOREIGN = {"up", "ALERTS", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
# As Grafana would fill them in.
VARIABLES = {"$instance": ".*", "$partition": ".*", "$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}


def exported(text):
    """The families of a /metrics page: name -> (type, labels, help)."""
    found, order = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, meaning = line.removeprefix("# HELP ").split(" ", 1)
            found[name] = ["", (), meaning]
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            found[name][0] = kind
        elif line:
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            family = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
            names = re.findall(r'(\w+)="', re.sub(r'"[^"]*"', '""', labels or ""))
            order[family] = tuple(sorted(set(names) - {"le"}))
    return {name: (kind, order.get(name, ()), meaning) for name, (kind, _, meaning) in found.items()}


def documented():
    """The rows of the table of metrics in docs/operations.md: name -> (type, labels, meaning)."""
    found = {}
    for line in OPERATIONS.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 5 and re.fullmatch(r"`(kappa|process)_\w+`", cells[1]):
            found[cells[1].strip("`")] = (cells[2], tuple(re.findall(r"\w+", cells[3])), cells[4])
    return found


def names(expression):
    """The metrics that an expression names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b((?:kappa|process|node)_\w+|up|ALERTS)\b(?!\s*\()", bare))


def family(name, families):
    return name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)


def queries():
    """Every query of the dashboard, its variables filled in, with its panel's title."""
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def around():
    """The queries of the dashboard's variables and marks, which may well find nothing."""
    yield from (each["definition"] for each in board()["templating"]["list"] if "definition" in each)
    yield from (each["target"]["expr"] for each in board()["annotations"]["list"])


class Live:
    """The checks, in the order in which they must run."""

    def __init__(self, stack, feed):
        self.stack, self.feed = stack, feed

    def page(self, path):
        return get(self.stack.port["kappa"], path)

    def is_ready(self):
        return self.page("/ready")[0] == 200

    def becomes_ready(self):
        """Caught up, rows are in both stores, and there are some scrapes to look back on."""
        until("/ready", self.is_ready)
        busy = "sum(increase(kappa_offline_commits_total[1m])) > 1 and sum(increase(kappa_freshness_seconds_count[1m]))"
        until("rows in both stores", lambda: self.stack.ask(busy))
        time.sleep(8)

    def every_metric_is_documented(self):
        """docs/operations.md has exactly the metrics of the process, with their types, labels and meanings."""
        shown, written = exported(self.page("/metrics")[1]), documented()
        wrong = []
        for name in sorted(shown.keys() | written.keys()):
            if shown.get(name) != written.get(name):
                kind, labels, meaning = shown.get(name, ("", (), "is not exported: remove its row"))
                wrong.append(f"| `{name}` | {kind} | {', '.join(labels)} | {meaning} | |")
        assert not wrong, "docs/operations.md, the rows should begin:\n" + "\n".join(wrong)
        return f"{len(shown)} metrics"

    def every_name_is_exported(self):
        """Panels and alerts name what is exported, and panels show all of it."""
        families = exported(self.page("/metrics")[1])
        used = {family(name, families) for _, query in queries() for name in names(query)}
        others = [*around(), *(alert["expr"] for alert in alerts())]
        wanted = used | {family(name, families) for query in others for name in names(query)}
        assert not wanted - families.keys() - FOREIGN, f"not exported: {wanted - families.keys() - FOREIGN}"
        ours = {name for name in families if name.startswith("kappa_")}
        assert ours - used == NOT_SHOWN.keys(), f"shown by no panel: {ours - used}"
        return f"{len(wanted)} names"

    def every_query_finds_series(self):
        empty = [f"{title}: {query}" for title, query in queries() if not self.stack.ask(query) and query not in EMPTY]
        assert not empty, "no series:\n" + "\n".join(empty)
        return f"{len(list(queries()))} queries, {len(EMPTY)} rightly empty"

    def every_alert_has_series(self):
        """With comparisons that answer 0 or 1 instead of choosing, each alert sees its series; now none is true."""
        for alert in alerts():
            told = re.sub(r"\s(==|!=|>=|<=|>|<)\s", r" \1 bool ", alert["expr"])
            assert self.stack.ask(told), f"{alert['alert']} sees no series: {told}"
        # A nearly full machine is not ours to judge.
        firing = self.stack.alerts() - {"KappaDiskFilling"}
        # What the feed does wrong on purpose.
        assert firing <= {"KappaDeadLetters"}, f"a healthy run alerts: {firing}"
        return f"{len(alerts())} alerts"

    def health_check_is_good(self):
        """The image's own, run as it stands."""
        line = re.search(r"^HEALTHCHECK .* CMD \[(.+)\]$", (DOCKER / "Dockerfile").read_text(), re.M)[1]
        command = [part.strip().strip('"') for part in line.split(",")]
        assert command[0] == "kappa"
        env = {**os.environ, **self.stack.environment}
        done = subprocess.run([kappa(), *command[1:]], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert self.page("/health")[0] == 200

    def redis_down_is_seen_and_heals(self):
        """The alert wakes, the process is not ready and goes on; Redis comes back and gets what it missed."""
        before = self.stack.value("sum(kappa_records_total)")
        self.stack.end("redis", signal.SIGKILL)
        until("KappaSinkDown", lambda: "KappaSinkDown" in self.stack.alerts())
        assert all(self.stack.ask(query) for query in EMPTY), "the table of alerts stays empty"
        status, text = self.page("/ready")
        assert status == 503 and text.startswith("online: "), f"/ready answers {status} {text}"
        assert self.page("/health")[0] == 200
        until("records go on", lambda: self.stack.value("sum(kappa_records_total)") > before + 100)
        until("the outbox grows", lambda: self.stack.value('max(kappa_outbox_epochs{sink="online"})') > 10)
        self.stack.redis()
        until("/ready again", self.is_ready)
        until("the outbox is empty", lambda: self.stack.value('max(kappa_outbox_epochs{sink="online"})') < 10)

    def a_killed_process_resumes(self):
        """kill -9, then the same command: no record is lost or counted twice."""
        self.stack.end("kappa", signal.SIGKILL)
        until("KappaDown", lambda: "KappaDown" in self.stack.alerts())
        self.stack.kappa()
        until("/ready after kill -9", self.is_ready)
        sent = self.feed.stop()
        total = "sum(kappa_records_total)"
        until(f"{sent} records", lambda: self.stack.value(total) == sent)
        time.sleep(2)
        assert self.stack.value(total) == sent, f"{sent} sent and {self.stack.value(total)} counted"
        classes = {series["metric"]["class"]: float(series["value"][1]) for series in self.stack.ask(by_class())}
        missing = {name for name, count in classes.items() if count == 0} - {"filtered"}
        assert not missing, f"the feed made no {missing}"
        dead = sum(classes[name] for name in ("malformed", "over_limit", "future", "late"))
        assert self.stack.value("sum(kappa_dead_letters_total)") == dead
        return f"{sent} records sent and counted, {dead:.0f} dead letters"

    def terminate_drains(self):
        """SIGTERM: exit code 0 within bounds.shutdown, and nothing left in the outboxes' way."""
        began = time.monotonic()
        code = self.stack.end("kappa", signal.SIGTERM)
        took = time.monotonic() - began
        assert code == 0 and took < 12, f"exit code {code} after {took:.1f} s"
        return f"exit code 0 after {took:.1f} s"


def by_class():
    return "sum by (class) (kappa_records_total)"
