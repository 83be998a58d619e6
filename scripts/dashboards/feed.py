"""Events of a shop, of every class, at a steady pace, until they are told to stop."""

import json
import random
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stack import PARTITIONS, TOPIC, until

PER_SECOND = 200


def create_topic(brokers):
    """Waits for the broker, and makes the topic."""
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})

    def answers():
        try:
            return admin.list_topics(timeout=2).brokers
        except Exception:  # The client's own exception: not yet.
            return None

    until("kafka answers", answers)
    for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
        made.result(30)

    def has_leaders():
        shown = admin.list_topics(TOPIC, timeout=5).topics[TOPIC].partitions
        return len(shown) == PARTITIONS and all(partition.leader >= 0 for partition in shown.values())

    # The broker answers a creation before that.
    until("the topic has leaders", has_leaders)


class Feed:
    """A thread that writes; `sent` is how many records the broker has acknowledged."""

    def __init__(self, brokers):
        self.producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20, "log_level": 0})
        self.random, self.sent, self.failed = random.Random(7), 0, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stopped.wait(0.05):
            for _ in range(PER_SECOND // 20):
                self.send()
            self.producer.poll(0)

    def send(self):
        now, dice = int(time.time() * 1000), self.random.random()
        user = f"u{self.random.randint(1, 300)}"
        event = {"user_id": user, "event": self.random.choice(["view", "view", "view", "click", "cart", "purchase"])}
        event |= {"item_id": f"i{self.random.randint(1, 99)}", "category": "shoes", "price": 9.5, "ts": now}
        key, value = user, None
        if dice < 0.005:
            value = b"{not json"
        elif dice < 0.01:
            event["ts"] = now - 3_600_000
        elif dice < 0.015:
            event["ts"] = now + 3_600_000
        elif dice < 0.02:
            key = event["user_id"] = "u" * 2_000
        elif dice < 0.025:
            value = b""
        payload = None if value == b"" else value or json.dumps(event).encode()
        self.producer.produce(TOPIC, payload, key, on_delivery=self.delivered)

    def delivered(self, error, _message):
        if error is None:
            self.sent += 1
        else:
            self.failed += 1

    def stop(self):
        """Ends, and answers how many records the log has."""
        self.stopped.set()
        self.thread.join()
        assert self.producer.flush(20) == 0 and self.failed == 0, "the feed's records did not reach the broker"
        return self.sent
