"""What the tests share: a real RabbitMQ, the scripts as processes, and plain pika beside them."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme
from mirakuru.exceptions import ProcessExitedWithError
from port_for import available_good_ports
from pytest_rabbitmq.factories.executor import RabbitMqExecutor

from client import FibonacciRpcClient

ROOT = Path(__file__).parent.parent
AMQP_URL = os.environ.get("AMQP_URL", "").strip()
# First Debian's commands in this folder: those in /usr/sbin refuse users but root and rabbitmq.
RABBITMQ_SERVER = shutil.which(
    "rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}"
)
AWAITING = " [x] Awaiting RPC requests"
NO_BROKER = "No RabbitMQ to test with: apt-get install rabbitmq-server, or set AMQP_URL"


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value of condition(); fails when there is none within seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.01)
    return value


def in_thread(function: Callable[..., Any], *arguments: Any) -> list:
    """Call function in a thread of its own; return the list that its result will be put into."""
    results: list = []
    threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True).start()
    return results


def ask(channel: Any, body: bytes, **properties: Any) -> tuple[Any, pika.BasicProperties, bytes]:
    """Publish a request as the tutorial's client does; return the reply, as basic_get gives it."""
    properties = {"correlation_id": "the-request's-own"} | properties
    if "reply_to" not in properties:
        properties["reply_to"] = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", "rpc_queue", body, pika.BasicProperties(**properties))
    return reply_from(channel, properties["reply_to"])


def reply_from(channel: Any, queue: str) -> tuple[Any, pika.BasicProperties, bytes]:
    """Wait for a message in queue, and take it out."""
    reply: Any = until(lambda: (got := channel.basic_get(queue, auto_ack=True))[0] and got)
    return reply


class Broker:
    """A RabbitMQ to test with, at url: that of AMQP_URL, unless it is a Node."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> pika.BlockingConnection:
        """Return a plain pika connection of the test's own."""
        return pika.BlockingConnection(pika.URLParameters(self.url))


class Node(Broker):
    """A RabbitMQ node of our own, on free ports, that the tests may stop and start again."""

    def __init__(self, folder: Path) -> None:
        """Prepare a node that keeps its files in folder; start() is yet to be called."""
        assert RABBITMQ_SERVER, NO_BROKER
        self.port, self.tls_port, distribution_port = random.sample(
            sorted(available_good_ports()), 3
        )
        super().__init__(f"amqp://guest:guest@127.0.0.1:{self.port}/%2F")
        self.authority = folder / "authority.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = folder / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"disk_free_limit.absolute = 1MB\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"listeners.ssl.2 = 127.0.0.2:{self.tls_port}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {certificate}\n"
        )
        os.environ["RABBITMQ_CONFIG_FILE"] = str(config)
        self.executor = RabbitMqExecutor(
            RABBITMQ_SERVER,
            host="127.0.0.1",
            port=self.port,
            distribution_port=distribution_port,
            rabbit_ctl=str(Path(RABBITMQ_SERVER).with_name("rabbitmqctl")),
            logpath=folder,
            path=folder,
            plugin_path=folder,
            node_name=f"rpc-{self.port}@localhost",
        )
        self.start = self.executor.start
        self.ctl = self.executor.rabbitctl_output

    def stop(self) -> None:
        """Stop the node, and return when it has ended."""
        with suppress(ProcessExitedWithError):
            self.executor.stop()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes from running, without ending them, for a block of code."""
        assert self.executor.process
        os.killpg(self.executor.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.executor.process.pid, signal.SIGCONT)


def pytest_configure(config: pytest.Config) -> None:
    if not AMQP_URL and not RABBITMQ_SERVER:
        pytest.exit(NO_BROKER, returncode=1)
    # A shell that runs the tests in the background has them ignore Ctrl-C, and their children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running RabbitMQ."""
    if AMQP_URL:
        broker = Broker(AMQP_URL)
        with broker.connect() as connection, suppress(pika.exceptions.ChannelClosedByBroker):
            queue = connection.channel().queue_declare("rpc_queue", passive=True)
            if queue.method.consumer_count:
                pytest.exit("A server runs on the broker of AMQP_URL: stop it first", returncode=1)
        yield broker
        return
    node = Node(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield node
    node.stop()


@pytest.fixture
def node(broker: Broker) -> Iterator[Node]:
    """The running RabbitMQ, where it is our own; it runs again after the test."""
    if not isinstance(broker, Node):
        pytest.skip("AMQP_URL is set: this test needs a broker that it may stop")
    yield broker
    if not broker.executor.running():
        broker.start()


@pytest.fixture
def channel(broker: Broker) -> Iterator[Any]:
    """A plain pika channel to a broker on which no rpc_queue exists."""
    connection = broker.connect()
    channel = connection.channel()
    channel.queue_delete("rpc_queue")
    yield channel
    with suppress(pika.exceptions.AMQPError):  # a test may have cost the connection
        connection.close()


class Script:
    """One of the two scripts, or any Python code that uses them, as a process."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        """Start python with arguments; environment comes on top of the test's own."""
        self.paths = {name: folder / f"{time.monotonic_ns()}.{name}" for name in ("out", "err")}
        with self.paths["out"].open("w") as out, self.paths["err"].open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=os.environ | {"PYTHONUNBUFFERED": ""} | environment,  # flushing is theirs
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

    def says_lines(self, number: int) -> None:
        """Wait until it has written so many lines to standard error."""
        until(lambda: self.err.count("\n") >= number)

    def exit_code(self, seconds: float = 20.0) -> int:
        """Wait for it to end, and return its exit code."""
        return self.process.wait(seconds)

    def stop(self, with_signal: int = signal.SIGKILL) -> int:
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
        server.says(AWAITING)
        return server

    return start


@pytest.fixture
def server(start_server: Callable[[], Script]) -> Script:
    """A server.py that consumes rpc_queue."""
    return start_server()


@pytest.fixture(scope="module")
def standing_server(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Script]:
    """A server.py for all tests of a module that leave it and rpc_queue alone."""
    with broker.connect() as connection:
        connection.channel().queue_delete("rpc_queue")
    server = Script(tmp_path_factory.mktemp("server"), "server.py", AMQP_URL=broker.url)
    server.says(AWAITING)
    yield server
    server.stop()


@pytest.fixture
def caller(broker: Broker, standing_server: Script) -> Iterator[Any]:
    """A plain pika channel; fails a test that cost the standing server its connection."""
    with broker.connect() as connection:
        yield connection.channel()
    assert standing_server.out.count(AWAITING) == 1
    assert standing_server.process.poll() is None


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
