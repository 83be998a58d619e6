"""make dashboards: the dashboard, the alerts and the table of metrics, held against a run of everything.

Kafka, Redis, Kappa, Prometheus and node_exporter run as docker/compose.yaml says, without Docker. About a minute.
"""

import sys
import tempfile
import time
import traceback

import files
from feed import Feed, create_topic
from live import Live
from stack import PARTITIONS, Stack, until

FILES = [
    files.prometheus,
    files.every_alert_is_tested,
    files.runbooks,
    files.dashboard,
    files.compose,
    files.environment,
]


def check(test):
    """Runs one check and prints how it went; answers whether well."""
    began = time.monotonic()
    name = test.__name__.replace("_", " ")
    try:
        said = test()
    except Exception as error:
        if not isinstance(error, AssertionError):
            traceback.print_exc()
        print(f"FAIL  {name}: {error}", flush=True)
        return False
    print(f"ok    {name}{f': {said}' if said else ''} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def live():
    with tempfile.TemporaryDirectory(prefix="kappa-dashboards-") as folder, Stack(folder) as stack:
        brokers = stack.kafka()
        stack.redis()
        stack.machine()
        stack.prometheus()
        create_topic(brokers)
        feed = Feed(brokers)
        until("the broker takes records", lambda: feed.sent > 20 * PARTITIONS)
        stack.kappa()
        run = Live(stack, feed)
        good = check(run.becomes_ready)
        if good:
            good = all([
                check(run.every_metric_is_documented),
                check(run.every_name_is_exported),
                check(run.every_query_finds_series),
                check(run.every_alert_has_series),
                check(run.health_check_is_good),
                check(run.redis_down_is_seen_and_heals),
                check(run.a_killed_process_resumes),
                check(run.terminate_drains),
            ])
        if not good:
            print(f"--- kappa's log\n{stack.log('kappa')[-3000:]}", file=sys.stderr)
        return good


def main():
    good = all([check(test) for test in FILES])
    good = live() and good
    print("dashboards: all is well" if good else "dashboards: something is wrong, see above")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
