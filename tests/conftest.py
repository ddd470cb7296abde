"""The fixtures of the tests, each for one thing. What they are made of stands in harness.py."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pytest

from client import FibonacciRpcClient
from harness import (
    AWAITING,
    NO_BROKER,
    NOBODY,
    RABBITMQ_SERVER,
    TEST_AMQP_URL,
    Broker,
    Node,
    Script,
)


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs the tests in the background has them ignore Ctrl-C, and their children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    found = TEST_AMQP_URL or RABBITMQ_SERVER
    return "" if found else f"{NO_BROKER}; until then, the tests that need one are skipped"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running RabbitMQ."""
    if TEST_AMQP_URL:
        broker = Broker(TEST_AMQP_URL)
        if (queue := broker.queue()) and queue.consumer_count:
            pytest.exit("A server runs at TEST_AMQP_URL: stop it first", returncode=1)
        yield broker
        return
    if not RABBITMQ_SERVER:
        pytest.skip(NO_BROKER)
    node = Node(tmp_path_factory.mktemp("rabbitmq"))
    node.start()
    yield node
    node.stop()


@pytest.fixture
def node(broker: Broker) -> Iterator[Node]:
    """The running RabbitMQ, where it is our own; it runs again after the test."""
    if not isinstance(broker, Node):
        pytest.skip("TEST_AMQP_URL is set: this test needs a broker that it may stop or command")
    yield broker
    if not broker.executor.running():
        broker.start()


@pytest.fixture
def user(node: Node) -> Iterator[Callable[..., str]]:
    """Makes a user with these permissions, and returns a URL for it."""

    def add(configure: str, write: str, read: str) -> str:
        node.ctl("add_user", "tester", "secret")
        node.ctl("set_permissions", "tester", configure, write, read)
        return node.url.replace("guest:guest", "tester:secret")

    yield add
    node.ctl("delete_user", "tester")


@pytest.fixture
def channel(broker: Broker) -> Iterator[Any]:
    """A plain pika channel."""
    connection = broker.connect()
    yield connection.channel()
    with suppress(pika.exceptions.AMQPError):  # a test may have cost the connection
        connection.close()


@pytest.fixture
def no_queue(broker: Broker) -> None:
    """No rpc_queue exists."""
    broker.delete_queue()


@pytest.fixture
def idle_queue(channel: Any, no_queue: None) -> None:
    """An empty rpc_queue exists, and no server."""
    channel.queue_declare("rpc_queue", durable=True)


@pytest.fixture
def run_alone(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Script]:
    """Starts scripts that need no broker; they are killed after the test."""

    def start(*arguments: str, **environment: str) -> Script:
        script = Script(tmp_path, *arguments, **{"AMQP_URL": NOBODY} | environment)
        request.addfinalizer(script.stop)
        return script

    return start


@pytest.fixture
def run(broker: Broker, run_alone: Callable[..., Script]) -> Callable[..., Script]:
    """Starts scripts that use the broker."""
    return partial(run_alone, AMQP_URL=broker.url)


@pytest.fixture
def start_server(run: Callable[..., Script]) -> Callable[..., Script]:
    """Starts server.py, or Python code that runs it, and waits until it consumes rpc_queue."""

    def start(*arguments: str, **environment: str) -> Script:
        server = run(*(arguments or ["server.py"]), **environment)
        server.prints(AWAITING)
        return server

    return start


@pytest.fixture
def server(no_queue: None, start_server: Callable[[], Script]) -> Script:
    """A server.py, with an rpc_queue of its making."""
    return start_server()


@pytest.fixture
def client(broker: Broker) -> Iterator[FibonacciRpcClient]:
    """A client whose calls may take as long as a slow machine needs."""
    with FibonacciRpcClient(broker.url, timeout=60) as client:
        yield client


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Any]]:
    """Calls a function in a thread of its own, and returns a concurrent.futures.Future."""
    with ThreadPoolExecutor() as threads:
        yield threads.submit
