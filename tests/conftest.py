"""What the tests share: a real RabbitMQ, the scripts as processes, and plain pika beside them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pika
import pytest
from mirakuru.exceptions import ProcessExitedWithError
from port_for import select_random
from pytest_rabbitmq.factories.executor import RabbitMqExecutor

from client import FibonacciRpcClient

ROOT = Path(__file__).parent.parent
AMQP_URL = os.environ.get("AMQP_URL", "").strip()
# First Debian's commands in this folder: those in /usr/sbin refuse users but root and rabbitmq.
RABBITMQ_SERVER = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.defpath}")
NO_BROKER = "No RabbitMQ to test with: apt-get install rabbitmq-server, or set AMQP_URL"


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value of condition(); fails when there is none within seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.01)
    return value


class Broker:
    """The RabbitMQ under test: a node of our own, or without one (None) the broker of AMQP_URL."""

    def __init__(self, node: RabbitMqExecutor | None) -> None:
        self.node = node
        self.url = f"amqp://guest:guest@127.0.0.1:{node.port}/%2F" if node else AMQP_URL

    def connect(self) -> pika.BlockingConnection:
        """Return a plain pika connection of the test's own."""
        return pika.BlockingConnection(pika.URLParameters(self.url.split()[0]))


def private_node(folder: Path) -> RabbitMqExecutor:
    """Return a RabbitMQ node on free ports that keeps its files in folder, not started yet."""
    assert RABBITMQ_SERVER, NO_BROKER
    config = folder / "rabbitmq.conf"
    config.write_text("disk_free_limit.absolute = 1MB\n")
    os.environ["RABBITMQ_CONFIG_FILE"] = str(config)
    port = select_random()
    return RabbitMqExecutor(
        RABBITMQ_SERVER,
        host="127.0.0.1",
        port=port,
        distribution_port=select_random(exclude_ports=[port]),
        rabbit_ctl=str(Path(RABBITMQ_SERVER).with_name("rabbitmqctl")),
        logpath=folder,
        path=folder,
        plugin_path=folder,
        node_name=f"rpc-{port}@localhost",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not AMQP_URL and not RABBITMQ_SERVER:
        pytest.exit(NO_BROKER, returncode=1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running RabbitMQ."""
    if AMQP_URL:
        yield Broker(None)
        return
    node = private_node(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield Broker(node)
    with suppress(ProcessExitedWithError):
        node.stop()


@pytest.fixture
def channel(broker: Broker) -> Iterator[Any]:
    """A plain pika channel to a broker on which no rpc_queue exists."""
    with broker.connect() as connection:
        channel = connection.channel()
        channel.queue_delete("rpc_queue")
        yield channel


class Script:
    """One of the two scripts, or any Python code that uses them, as a process."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        """Start python with arguments; environment comes on top of the test's own."""
        self.paths = {name: folder / f"{time.monotonic_ns()}.{name}" for name in ("out", "err")}
        with self.paths["out"].open("w") as out, self.paths["err"].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """What it has written to standard output until now."""
        return self.paths["out"].read_text()

    @property
    def err(self) -> str:
        """What it has written to standard error until now."""
        return self.paths["err"].read_text()

    def says(self, line: str, times: int = 1) -> None:
        """Wait until it has written this line so many times, on whichever stream."""
        until(lambda: (self.out + self.err).splitlines().count(line) >= times)

    def exit_code(self, seconds: float = 20.0) -> int:
        """Wait for it to end, and return its exit code."""
        return self.process.wait(seconds)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Send it a signal, wait for it to end, and return its exit code."""
        self.process.send_signal(with_signal)
        return self.exit_code()


@pytest.fixture
def run(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Starts scripts that use the broker; they are killed after the test."""
    scripts = []

    def start(*arguments: str, **environment: str) -> Script:
        scripts.append(Script(tmp_path, *arguments, **{"AMQP_URL": broker.url} | environment))
        return scripts[-1]

    yield start
    for script in scripts:
        with suppress(ProcessLookupError):
            script.process.send_signal(signal.SIGCONT)
            script.process.kill()
        script.process.wait()


@pytest.fixture
def start_server(channel: Any, run: Callable[..., Script]) -> Callable[[], Script]:
    """Starts server.py and waits until it consumes rpc_queue."""

    def start() -> Script:
        server = run("server.py")
        server.says(" [x] Awaiting RPC requests")
        return server

    return start


@pytest.fixture
def server(start_server: Callable[[], Script]) -> Script:
    """A server.py that consumes rpc_queue."""
    return start_server()


@pytest.fixture
def client(broker: Broker, channel: Any) -> Iterator[FibonacciRpcClient]:
    """A client whose calls may take ten seconds."""
    with FibonacciRpcClient(broker.url) as client:
        yield client


@pytest.fixture
def raw_server(broker: Broker, channel: Any) -> Iterator[Callable[..., list]]:
    """Starts a plain pika server, in a thread, with a function that answers its requests.

    The function is called with the channel and method, properties and body of each request. What
    is returned is the list of these requests, which grows.
    """
    connections = []

    def start(on_request: Callable[..., None]) -> list:
        requests: list = []
        connection = broker.connect()
        connections.append(connection)
        own = connection.channel()
        own.queue_declare("rpc_queue", durable=True)

        def note_and_answer(_channel, method, props, body):
            requests.append((method, props, body))
            on_request(own, method, props, body)

        own.basic_consume("rpc_queue", note_and_answer, auto_ack=True)
        threading.Thread(target=own.start_consuming, daemon=True).start()
        return requests

    yield start
    for connection in connections:
        connection.add_callback_threadsafe(connection.close)
    until(lambda: all(connection.is_closed for connection in connections))
