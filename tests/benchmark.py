"""Measure the pair, beside barer and older ones, on one RabbitMQ and in interleaved rounds.

``python tests/benchmark.py`` starts a private broker, as the tests do, or uses that of AMQP_URL,
whose rpc_queue it deletes. It takes two to three minutes, and with ``--quick`` less than 20
seconds. Compare the ratios within one run: single times depend on the machine and its noise.
"""

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pika
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))  # where client.py is

from client import FibonacciRpcClient
from conftest import AMQP_URL, AWAITING, ROOT, Broker, Node, Script

BARE, QUORUM, BAREST, OLD = "bench_bare", "bench_quorum", "bench_barest", "bench_old"
FIB_30 = 832040


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


# The servers to compare with are processes like server.py, since what else a process has loaded
# shows in its times: Python's garbage collector runs the less often, the more there is.
CONSUME = """
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.basic_qos(prefetch_count=1)
channel.basic_consume(sys.argv[2], on_request, auto_ack=auto_ack)
print("ready", flush=True)
channel.start_consuming()
"""
BARE_SERVER = (
    """import sys, pika
auto_ack = False
def on_request(channel, method, props, body):
    reply_props = pika.BasicProperties(
        "text/plain", correlation_id=props.correlation_id, type="result"
    )
    channel.basic_publish("", props.reply_to, b"832040", reply_props)
    channel.basic_ack(method.delivery_tag)
"""
    + CONSUME
)
BAREST_SERVER = (
    """import sys, pika
auto_ack = True
def on_request(channel, method, props, body):
    channel.basic_publish("", props.reply_to, b"832040")
"""
    + CONSUME
)
OLD_SERVER = (
    """import sys, pika
auto_ack = False
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def on_request(channel, method, props, body):
    reply_props = pika.BasicProperties(correlation_id=props.correlation_id)
    channel.basic_publish("", props.reply_to, str(fib(int(body))), reply_props)
    channel.basic_ack(method.delivery_tag)
"""
    + CONSUME
)


class BareClient:
    """The round trip in plain pika; polls, as the older tutorial does, with a time limit of 0."""

    def __init__(self, url: str, queue: str, time_limit: float | None = None) -> None:
        self.queue, self.time_limit = queue, time_limit
        self.connection = connect(url)
        self.channel = self.connection.channel()
        self.callback_queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.callback_queue, self.on_response, auto_ack=True)
        self.props = pika.BasicProperties(reply_to=self.callback_queue)
        if queue != BAREST:
            self.props.content_type, self.props.expiration = "text/plain", "10000"

    def on_response(self, _channel, _method, _props, body):
        self.reply = body

    def call(self, n: int) -> int:
        self.reply = None
        if mandatory := self.queue != BAREST:
            self.props.correlation_id = str(uuid.uuid4())
        self.channel.basic_publish("", self.queue, str(n), self.props, mandatory=mandatory)
        while self.reply is None:
            self.connection.process_data_events(self.time_limit)
        return int(self.reply)


class Benchmark:
    """One run; each measurement adds its rows to the tables."""

    def __init__(self, url: str, folder: Path, quick: bool, progress: Progress) -> None:
        self.url, self.folder, self.quick, self.progress = url, folder, quick, progress
        self.exit = ExitStack()
        self.tables: list[Table] = []

    def often(self, times: int, quick_times: int) -> int:
        return quick_times if self.quick else times

    def table(self, title: str, *columns: str) -> Table:
        table = Table(title=title, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        self.tables.append(table)
        return table

    def track(self, rounds: Any, what: str) -> Iterator[Any]:
        return iter(self.progress.track(list(rounds), description=f"{what:<24}"))

    @contextmanager
    def servers(self, number: int) -> Iterator[list[Script]]:
        """So many server.py, which consume rpc_queue."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.process(AWAITING, "server.py")) for _ in range(number)]

    @contextmanager
    def process(self, ready: str, *arguments: str) -> Iterator[Script]:
        """A Python process that has printed that it is ready."""
        script = Script(self.folder, *arguments, AMQP_URL=self.url)
        script.says(ready)
        try:
            yield script
        finally:
            script.stop(signal.SIGKILL)

    def declare(self, queue: str, **settings: Any) -> str:
        """Declare a queue anew; return "" or why RabbitMQ refuses."""
        with connect(self.url) as connection:
            connection.channel().queue_delete(queue)
            try:
                connection.channel().queue_declare(queue, **settings)
            except (
                pika.exceptions.ConnectionClosedByBroker,
                pika.exceptions.ChannelClosedByBroker,
            ) as error:
                return f"refused ({error.reply_code})"
        self.exit.callback(self.delete, queue)
        return ""

    def delete(self, queue: str) -> None:
        with connect(self.url) as connection:
            connection.channel().queue_delete(queue)

    def one_call(self) -> None:
        self.declare(BARE, durable=True)
        self.declare(BAREST, durable=True)
        self.declare(QUORUM, durable=True, arguments={"x-queue-type": "quorum"})
        refused = self.declare(OLD)
        with ExitStack() as stack:
            stack.enter_context(self.servers(1))
            others = [(BARE_SERVER, BARE), (BARE_SERVER, QUORUM), (BAREST_SERVER, BAREST)]
            if not refused:
                others.append((OLD_SERVER, OLD))
            for server, queue in others:
                stack.enter_context(self.process("ready", "-c", server, self.url, queue))
            clients: dict[str, Any] = {
                "this pair": FibonacciRpcClient(self.url),
                "floor: the same messages, bare": BareClient(self.url, BARE),
                "the same over a quorum queue": BareClient(self.url, QUORUM),
                "no properties, no acknowledgement": BareClient(self.url, BAREST),
            }
            if not refused:
                clients["the older tutorial's way"] = BareClient(self.url, OLD, time_limit=0)
            times: dict[str, list[float]] = {name: [] for name in clients}
            cpu: dict[str, float] = dict.fromkeys(clients, 0.0)
            for _ in self.track(range(self.often(60, 6)), "one call"):
                for name in random.sample(list(clients), len(clients)):
                    client, before = clients[name], time.thread_time()
                    for _ in range(1 if "older" in name else 50):
                        started = time.perf_counter()
                        assert client.call(30) == FIB_30
                        times[name].append(time.perf_counter() - started)
                    cpu[name] += time.thread_time() - before
        table = self.table(
            "One call of fib(30)", "", "median ms", "ratio", "99th percentile ms", "client CPU ms"
        )
        floor = statistics.median(times["floor: the same messages, bare"])
        for name, taken in times.items():
            table.add_row(
                name,
                f"{statistics.median(taken) * 1000:.2f}",
                f"{statistics.median(taken) / floor:.2f}",
                f"{statistics.quantiles(taken, n=100)[98] * 1000:.2f}",
                f"{cpu[name] / len(taken) * 1000:.2f}",
            )
        if refused:
            table.add_row("the older tutorial's way", refused, "", "", "")

    def waiting(self) -> None:
        self.declare("rpc_queue", durable=True)
        self.declare(BARE, durable=True)
        seconds = self.often(3, 1)
        ours = FibonacciRpcClient(self.url, timeout=seconds)
        polling = BareClient(self.url, BARE)

        def wait() -> None:
            try:
                ours.call(30)
            except TimeoutError:
                return

        def poll() -> None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                polling.connection.process_data_events()

        table = self.table("A client that waits, CPU in % of a core", "", "CPU")
        shares: dict[str, float] = {}
        for name in self.track(["this pair", "the older tutorial's way"], "waiting"):
            before = time.thread_time()
            wait() if name == "this pair" else poll()
            shares[name] = (time.thread_time() - before) / seconds
            table.add_row(name, f"{shares[name]:.1%}")

    def throughput(self) -> None:
        clients, numbers, fleets = 6, (30, 20_000), (1, 2, 4)
        rounds = [(n, fleet) for _ in range(self.often(3, 1)) for n in numbers for fleet in fleets]
        seconds = self.often(4, 1) * 0.4
        rates: dict[tuple[int, int], list[float]] = {}
        shares: dict[tuple[int, int], list[list[int]]] = {}
        with multiprocessing.Pool(clients, make_client, [self.url]) as callers:
            for n, fleet in self.track(rounds, "calls a second"):
                with self.servers(fleet) as servers:
                    counts = callers.map(calls_within, [(n, seconds)] * clients, chunksize=1)
                    answered = sorted((s.out.count("fib(") for s in servers), reverse=True)
                rates.setdefault((n, fleet), []).append(sum(counts) / seconds)
                shares.setdefault((n, fleet), []).append(answered)
        table = self.table(
            "Calls a second, six clients", "n", "servers", "calls a second", "ratio", "each's share"
        )
        for (n, fleet), measured in rates.items():
            answered = [sum(column) for column in zip(*shares[n, fleet], strict=True)]
            table.add_row(
                f"{n:,}",
                str(fleet),
                f"{statistics.median(measured):,.0f}",
                f"{statistics.median(measured) / statistics.median(rates[n, 1]):.2f}",
                " ".join(f"{count / sum(answered):.0%}" for count in answered),
            )

    def memory(self) -> None:
        calls = self.often(50_000, 600)
        with (
            self.servers(1) as (server,),
            multiprocessing.Pool(6, make_client, [self.url]) as callers,
        ):
            callers.map(call_times, [100] * 6)
            process = psutil.Process(server.process.pid)
            before = process.memory_info().rss
            for _ in self.track(range(10), "memory"):
                callers.map(call_times, [calls // 60] * 6, chunksize=1)
            after = process.memory_info().rss
        table = self.table(f"The server's memory, {calls:,} calls", "", "MB")
        table.add_row("before", f"{before / 2**20:.1f}")
        table.add_row("after", f"{after / 2**20:.1f}")

    def whole_process(self) -> None:
        commands = {
            "python client.py": ["client.py"],
            "python -c 'import pika'": ["-c", "import pika"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        with self.servers(1):
            for _ in self.track(range(self.often(15, 3)), "the whole process"):
                for name, arguments in commands.items():
                    started = time.perf_counter()
                    subprocess.run(
                        [sys.executable, *arguments],
                        cwd=ROOT,
                        env=os.environ | {"AMQP_URL": self.url},
                        check=True,
                        stdout=subprocess.DEVNULL,
                    )
                    times[name].append(time.perf_counter() - started)
        table = self.table("The whole process", "", "median ms")
        for name, taken in times.items():
            table.add_row(name, f"{statistics.median(taken) * 1000:.0f}")


client: FibonacciRpcClient  # of each process of the pool


def make_client(url: str) -> None:
    """Give a process of the pool its client."""
    global client
    client = FibonacciRpcClient(url)


def calls_within(n_and_seconds: tuple[int, float]) -> int:
    """Call for so many seconds, and return how often."""
    n, seconds = n_and_seconds
    calls, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.call(n)
        calls += 1
    return calls


def call_times(times: int) -> None:
    """Call so many times."""
    for _ in range(times):
        client.call(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="end within 20 seconds")
    quick = parser.parse_args().quick
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        progress = stack.enter_context(Progress(console=console, transient=True))
        if AMQP_URL:
            broker = Broker(AMQP_URL)
        else:
            node = broker = Node(folder)
            node.start()
            stack.callback(node.stop)
        with connect(broker.url) as connection:
            connection.channel().queue_delete("rpc_queue")
            version = connection._impl.server_properties["version"]
        benchmark = Benchmark(broker.url, folder, quick, progress)
        with benchmark.exit:
            benchmark.one_call()
            benchmark.waiting()
            benchmark.throughput()
            benchmark.memory()
            benchmark.whole_process()
    python = ".".join(map(str, sys.version_info[:3]))
    console.print(f"RabbitMQ {version}, Python {python}, {os.cpu_count()} cores")
    for table in benchmark.tables:
        console.print(table)


if __name__ == "__main__":
    main()
