"""Measure a call of fib(30): with this pair, in bare pika, and in bare pika over a quorum queue.

``python tests/benchmark.py`` starts a RabbitMQ of its own, or uses that of TEST_AMQP_URL, whose
rpc_queue it deletes. It takes about 15 seconds. Compare the ratios: the times of one run share the
noise of the machine.
"""

import random
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

QUEUES = {"bare": {}, "bare, quorum queue": {"x-queue-type": "quorum"}}

# A process of its own, like server.py: what else a process has loaded shows in its times.
BARE_SERVER = """
import sys, pika
def on_request(channel, method, props, body):
    reply_props = pika.BasicProperties(correlation_id=props.correlation_id, type="result")
    channel.basic_publish("", props.reply_to, b"832040", reply_props)
    channel.basic_ack(method.delivery_tag)
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.basic_qos(prefetch_count=1)
channel.basic_consume(sys.argv[2], on_request)
print("ready", flush=True)
channel.start_consuming()
"""


class BareClient:
    """The same messages in plain pika."""

    def __init__(self, broker: Broker, queue: str) -> None:
        self.queue, self.correlation_id, self.reply = queue, "", b""
        self.connection = broker.connect()
        self.channel = self.connection.channel()
        self.callback_queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.callback_queue, self.on_reply, auto_ack=True)

    def on_reply(self, _channel, _method, props, body):
        if props.correlation_id == self.correlation_id:
            self.reply = body

    def call(self, n: int) -> int:
        """Return the number in the reply, however long it takes."""
        self.correlation_id, self.reply = str(uuid.uuid4()), b""
        props = pika.BasicProperties(
            reply_to=self.callback_queue, correlation_id=self.correlation_id, expiration="10000"
        )
        self.channel.basic_publish("", self.queue, str(n).encode(), props, mandatory=True)
        while not self.reply:
            self.connection.process_data_events(time_limit=None)
        return int(self.reply)


def measure(clients: dict[str, Any]) -> None:
    """Print the time of a call, for each kind of client in turns."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(60):
        for name in random.sample(list(clients), len(clients)):
            for _ in range(50):
                started = time.perf_counter()
                assert clients[name].call(30) == 832040
                times[name].append(time.perf_counter() - started)
    bare = statistics.median(times["bare"])
    print(f"{'One call of fib(30)':24}{'median ms':>12}{'ratio':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:24}{median * 1000:12.2f}{median / bare:8.2f}")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = Broker(TEST_AMQP_URL)
        if not TEST_AMQP_URL:
            broker = node = Node(folder)
            node.start()
            stack.callback(node.stop)
        channel = stack.enter_context(broker.connect()).channel()
        broker.delete_queue("rpc_queue")
        server = Script(folder, "server.py", AMQP_URL=broker.url)
        stack.callback(server.stop)
        server.says(AWAITING)
        for queue, arguments in QUEUES.items():
            channel.queue_declare(queue, durable=True, arguments=arguments)
            stack.callback(broker.delete_queue, queue)
            bare = Script(folder, "-c", BARE_SERVER, broker.url, queue)
            stack.callback(bare.stop)
            bare.says("ready")
        clients: dict[str, Any] = {"this pair": FibonacciRpcClient(broker.url)}
        measure(clients | {queue: BareClient(broker, queue) for queue in QUEUES})


if __name__ == "__main__":
    main()
