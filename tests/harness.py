"""What the tests and the benchmark share: a RabbitMQ, the scripts as processes, and waiting."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import port_for
import trustme
from mirakuru import TCPExecutor

ROOT = Path(__file__).parent.parent
AWAITING = " [x] Awaiting RPC requests"
NOBODY = "amqp://guest:secret@127.0.0.1:1"  # nobody listens there; no message contains "secret"
# AMQP_URL is not read here: it may name a RabbitMQ that is in use.
TEST_AMQP_URL = os.environ.get("TEST_AMQP_URL", "").strip()
# Debian's commands in /usr/sbin refuse users but root and rabbitmq; /opt is the Docker image's.
FOLDERS = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", os.environ["PATH"]]
IN_NETNS = ["ip", "netns", "exec"]  # and the name of a network namespace, and a command
RABBITMQ_SERVER = shutil.which("rabbitmq-server", path=os.pathsep.join(FOLDERS))
NO_BROKER = (
    "no RabbitMQ to test with: apt-get install rabbitmq-server, or set TEST_AMQP_URL; "
    'pytest -m "not broker" runs the tests that need none'
)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of condition(); fails if there is none within seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.01)
    return value


def take(channel: Any, queue: str) -> Any:
    """Wait for a message in a queue, take it out, and return its method, properties and body."""
    return until(lambda: (got := channel.basic_get(queue, auto_ack=True))[0] and got)


def ask(channel: Any, body: bytes, correlation_id: Any = "the-request's-own", **others: Any) -> Any:
    """Publish a request as the tutorial's client does; return what take() makes of its reply."""
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    props = pika.BasicProperties(correlation_id=correlation_id, reply_to=reply_to, **others)
    channel.basic_publish("", "rpc_queue", body, props)
    return take(channel, reply_to)


class Broker:
    """A RabbitMQ to test with, at url."""

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> pika.BlockingConnection:
        """Return a plain pika connection."""
        return pika.BlockingConnection(pika.URLParameters(self.url))

    def delete_queue(self, name: str) -> None:
        """Delete a queue, if it exists."""
        with self.connect() as connection:
            connection.channel().queue_delete(name)

    def queue(self) -> Any:
        """Return message_count and consumer_count of rpc_queue, or None if it does not exist."""
        with self.connect() as connection:
            try:
                return connection.channel().queue_declare("rpc_queue", passive=True).method
            except pika.exceptions.ChannelClosedByBroker as error:
                if error.reply_code != 404:
                    raise
                return None


class Node(Broker):
    """A RabbitMQ node of our own, on free ports, that the tests may stop and start again."""

    def __init__(self, folder: Path) -> None:
        """Prepare a node that keeps its files in folder; start() is yet to be called."""
        assert RABBITMQ_SERVER, NO_BROKER
        self.rabbitmqctl = str(Path(RABBITMQ_SERVER).with_name("rabbitmqctl"))
        ports = sorted(port_for.available_good_ports())
        self.port, self.tls_port, distribution_port, epmd_port = random.sample(ports, 4)
        password = secrets.token_hex()
        self.login = f"tester:{password}"  # may log in from other hosts, unlike guest
        super().__init__(f"amqp://{self.login}@127.0.0.1:{self.port}")
        self.authority = folder / "authority.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = folder / "certificate.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"default_user = tester\ndefault_pass = {password}\n"
            f"disk_free_limit.absolute = 1MB\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {certificate}\n"
        )
        self.environment = {
            "RABBITMQ_NODENAME": f"rpc-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "ERL_EPMD_PORT": str(epmd_port),  # a shared epmd would end with the node that began it
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # by default, several nodes boot on one core
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),  # else in the working directory
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        }
        options = {"envvars": self.environment, "stdout": subprocess.DEVNULL, "timeout": 120}
        self.executor = TCPExecutor(RABBITMQ_SERVER, "127.0.0.1", self.port, **options)
        self.start = self.executor.start
        self.stop = self.executor.kill  # as a power cut would

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl, and return its output."""
        command = [self.rabbitmqctl, "-q", *arguments]
        return subprocess.check_output(command, env=os.environ | self.environment, text=True)


class Host:
    """Another host: a network namespace, from which the node is reached at url."""

    def __init__(self, node: Node) -> None:
        """Make the host. Raises CalledProcessError where that is not allowed."""
        self.name = f"rpc-{node.port}"  # of the namespace, and of the node's interface to it
        self.peer, host = [f"10.{node.port >> 8}.{node.port & 255}.{i}" for i in (1, 2)]
        self.url = node.url.replace("127.0.0.1", self.peer)
        for command in [
            f"ip netns add {self.name}",
            f"ip link add {self.name} type veth peer name eth0 netns {self.name}",
            f"ip address add {self.peer}/30 dev {self.name}",
            f"ip link set {self.name} up",
            f"ip -netns {self.name} address add {host}/30 dev eth0",
            f"ip -netns {self.name} link set eth0 up",
            f"ip -netns {self.name} link set lo up",  # pika needs it
        ]:
            subprocess.run(command.split(), check=True)

    def run(self, command: str) -> str:
        """Run a command on the host, and return its output."""
        return subprocess.check_output([*IN_NETNS, self.name, *command.split()], text=True)

    def fall_silent(self) -> None:
        """Drop the packets of the host's connections to the node, but not of later ones."""
        for connection in self.run(f"ss -tnH state established dst {self.peer}").splitlines():
            port = connection.split()[2].rpartition(":")[2]
            self.run(f"iptables -A OUTPUT -p tcp --sport {port} -j DROP")
            self.run(f"iptables -A INPUT -p tcp --dport {port} -j DROP")

    def delete(self) -> None:
        """Take the host off the network, and delete it once its processes have ended."""
        subprocess.run(["ip", "link", "delete", self.name], check=True)
        subprocess.run(["ip", "netns", "delete", self.name], check=True)


class Script:
    """One of the two scripts, or any Python code that uses them, as a process."""

    def __init__(self, folder: Path, *arguments: str, netns: str = "", **environment: str) -> None:
        """Start python with arguments, and with environment on top of the test's own."""
        in_netns = [*IN_NETNS, netns] if netns else []
        self.paths = {name: folder / f"{time.monotonic_ns()}.{name}" for name in ("out", "err")}
        with self.paths["out"].open("w") as out, self.paths["err"].open("w") as err:
            self.process = subprocess.Popen(
                [*in_netns, sys.executable, *arguments],
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

    def says(self, words: str, times: int = 1) -> None:
        """Wait until so many lines of its output contain these words."""
        until(lambda: sum(words in line for line in (self.out + self.err).splitlines()) >= times)

    def exit_code(self) -> int:
        """Wait for it to end, and return its exit code."""
        return self.process.wait(60)

    def stop(self, signal_name: str = "") -> int:
        """Kill it, or send it another signal; wait for it to end, and return its exit code."""
        if signal_name:
            self.process.send_signal(signal.Signals[signal_name])
        else:
            self.process.kill()
        return self.exit_code()


def error_line(script: Script) -> str:
    """Wait for a script to end with exit code 1; return the line, after warnings, that says why."""
    assert script.exit_code() == 1
    *warnings, line = script.err.splitlines()
    assert all(warning.startswith("No reply yet: ") for warning in warnings)
    assert line.startswith(" [!] ")
    assert "secret" not in script.err
    return line
