"""The fixtures of the tests, each for one thing. What they are made of stands in harness.py."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import harness
from client import FibonacciRpcClient
from harness import Broker, Host, Node, Script


@pytest.hookimpl(tryfirst=True)  # before pytest looks at -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")


def pytest_xdist_auto_num_workers() -> int:
    """Three processes with a RabbitMQ of their own each, or one where they would share it."""
    return 3 if harness.RABBITMQ_SERVER and not harness.TEST_AMQP_URL else 0


def pytest_collection_finish(session: pytest.Session) -> None:
    needed = any(item.get_closest_marker("broker") for item in session.items)
    if needed and not (harness.TEST_AMQP_URL or harness.RABBITMQ_SERVER):
        pytest.exit(harness.NO_BROKER, returncode=1)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running RabbitMQ."""
    if harness.TEST_AMQP_URL:
        broker = Broker(harness.TEST_AMQP_URL)
        if (queue := broker.queue()) and queue.consumer_count:
            pytest.exit("A server runs at TEST_AMQP_URL: stop it first", returncode=1)
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
        pytest.skip("TEST_AMQP_URL is set: this test needs a broker that it may stop or command")
    yield broker
    if not broker.executor.running():
        broker.start()


@pytest.fixture
def add_user(node: Node) -> Callable[..., str]:
    """Adds a user with permissions to configure, write and read; returns a URL for it."""

    def add(name: str, password: str, *permissions: str) -> str:
        node.ctl("add_user", name, password)
        node.ctl("set_permissions", name, *permissions)
        return node.url.replace(node.login, f"{name}:{password}")

    return add


@pytest.fixture
def host(node: Node) -> Iterator[Host]:
    """Another host, whose network may fall silent."""
    tools = ["unshare", "ip", "ss", "iptables"]
    if not all(map(shutil.which, tools)) or subprocess.call(["unshare", "--net", "true"]):
        pytest.skip("no other host can be made here: that needs root, iproute2 and iptables")
    host = Host(node)
    yield host
    host.delete()


@pytest.fixture
def channel(broker: Broker) -> Iterator[Any]:
    """A plain pika channel."""
    with broker.connect() as connection:
        yield connection.channel()


@pytest.fixture
def no_queue(broker: Broker) -> None:
    """No rpc_queue exists."""
    broker.delete_queue("rpc_queue")


@pytest.fixture
def idle_queue(channel: Any, no_queue: None) -> None:
    """An empty rpc_queue exists, and no server."""
    channel.queue_declare("rpc_queue", durable=True)


@pytest.fixture
def run_alone(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Script]:
    """Starts scripts that need no broker; they are killed after the test."""

    def start(*arguments: str, **environment: str) -> Script:
        script = Script(tmp_path, *arguments, **{"AMQP_URL": harness.NOBODY} | environment)
        request.addfinalizer(script.stop)
        return script

    return start


@pytest.fixture
def run(broker: Broker, run_alone: Callable[..., Script]) -> Callable[..., Script]:
    """Starts scripts that use the broker."""
    return partial(run_alone, AMQP_URL=broker.url)


@pytest.fixture
def start_server(run: Callable[..., Script]) -> Callable[..., Script]:
    """Starts server.py, or what Python code has made of it, and waits until it consumes."""

    def start(change: str = "", **environment: str) -> Script:
        changed = ["-c", f"import os, time, server\n{change}\nserver.main()"]
        server = run(*(changed if change else ["server.py"]), **environment)
        server.says(harness.AWAITING)
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
