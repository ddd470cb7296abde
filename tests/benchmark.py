"""Measure a call of fib(30): this pair, a bare one, a quorum queue, and a client that polls.

``python tests/benchmark.py`` starts a RabbitMQ of its own, or uses that of TEST_AMQP_URL, whose
rpc_queue it deletes. It takes about 20 seconds. Compare the ratios: the times of one run share the
noise of the machine.
"""

import os
import random
import signal
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika

sys.path.insert(0, str(Path(__file__).parent.parent))  # where client.py is

from client import FibonacciRpcClient
from harness import AWAITING, TEST_AMQP_URL, Broker, Node, Script

ROUNDS, CALLS = 60, 50
QUEUES = {
    "bench_bare": {},
    "bench_quorum": {"x-queue-type": "quorum"},
    "bench_polled": {},
}

# A process of its own, like server.py: what else a process has loaded shows in its times.
BARE_SERVER = """
import sys, pika

def on_request(channel, method, props, body):
    reply_props = pika.BasicProperties(
        content_type="text/plain", correlation_id=props.correlation_id, type="result"
    )
    channel.basic_publish("", props.reply_to, b"832040", reply_props)
    channel.basic_ack(method.delivery_tag)

channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.basic_qos(prefetch_count=1)
channel.basic_consume(sys.argv[2], on_request)
print("ready", flush=True)
channel.start_consuming()
"""


class BareClient:
    """The same messages in plain pika. Polls if time_limit is 0, as the tutorial did until 2022."""

    def __init__(self, broker: Broker, queue: str, time_limit: float | None = None) -> None:
        self.queue, self.time_limit = queue, time_limit
        self.correlation_id = ""
        self.reply: bytes | None = None
        self.connection = broker.connect()
        self.channel = self.connection.channel()
        self.callback_queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.callback_queue, self.on_response, auto_ack=True)

    def on_response(self, _channel, _method, props, body):
        if props.correlation_id == self.correlation_id:
            self.reply = body

    def call(self, n: int) -> int:
        """Return the number in the reply, however long it takes."""
        self.reply = None
        self.correlation_id = str(uuid.uuid4())
        props = pika.BasicProperties(
            content_type="text/plain",
            reply_to=self.callback_queue,
            correlation_id=self.correlation_id,
            expiration="10000",
        )
        self.channel.basic_publish("", self.queue, str(n).encode(), props, mandatory=True)
        while self.reply is None:
            self.connection.process_data_events(self.time_limit)
        return int(self.reply)


def measure_calls(broker: Broker) -> None:
    """Print the time of a call, for each kind of client in turns."""
    clients: dict[str, Any] = {
        "this pair": FibonacciRpcClient(broker.url),
        "bare": BareClient(broker, "bench_bare"),
        "bare, quorum queue": BareClient(broker, "bench_quorum"),
        "bare, polling": BareClient(broker, "bench_polled", time_limit=0),
    }
    times: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(ROUNDS):
        for name in random.sample(list(clients), len(clients)):
            for _ in range(CALLS):
                started = time.perf_counter()
                assert clients[name].call(30) == 832040
                times[name].append(time.perf_counter() - started)
    bare = statistics.median(times["bare"])
    print(f"{'One call of fib(30)':24}{'median ms':>12}{'ratio':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:24}{median * 1000:12.2f}{median / bare:8.2f}")


def measure_waiting(broker: Broker, seconds: float = 2) -> None:
    """Print how busy a client keeps a core while it waits for a reply that never comes."""
    broker.delete_queue()
    with broker.connect() as connection:
        connection.channel().queue_declare("rpc_queue", durable=True)
    ours = FibonacciRpcClient(broker.url, timeout=seconds)
    polling = BareClient(broker, "rpc_queue", time_limit=0)
    before = time.thread_time()
    try:
        ours.call(30)
    except TimeoutError:
        busy = time.thread_time() - before
    print(f"{'Waiting':24}{'CPU':>12}")
    print(f"{'this pair':24}{busy / seconds:12.1%}")
    before, deadline = time.thread_time(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        polling.connection.process_data_events(polling.time_limit)
    print(f"{'polling':24}{(time.thread_time() - before) / seconds:12.1%}")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = Broker(TEST_AMQP_URL)
        if not TEST_AMQP_URL:
            broker = node = Node(folder)
            node.start()
            stack.callback(node.stop)
        with broker.connect() as connection:
            version = connection._impl.server_properties["version"]
            channel = connection.channel()
            for queue, arguments in QUEUES.items():
                channel.queue_declare(queue, durable=True, arguments=arguments)
                stack.callback(broker.delete_queue, queue)
        broker.delete_queue()
        servers = [Script(folder, "server.py", AMQP_URL=broker.url)]
        servers += [Script(folder, "-c", BARE_SERVER, broker.url, queue) for queue in QUEUES]
        for server in servers:
            stack.callback(server.stop, signal.SIGKILL)
            server.prints(AWAITING if server is servers[0] else "ready")
        print(f"RabbitMQ {version}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
        measure_calls(broker)
        servers[0].stop()
        measure_waiting(broker)


if __name__ == "__main__":
    main()
