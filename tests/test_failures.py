"""What goes wrong, in the order of README's table "When something goes wrong"."""

import os
import random
import re
import signal
import socket
import time
from datetime import datetime
from unittest.mock import Mock

import pika
import pytest
from packaging.version import Version

from client import FibonacciRpcClient, RpcError
from harness import AWAITING, NOBODY, ask, fails_in_one_line, until
from server import fib


def timed_out(client):
    """Return the words of the TimeoutError that client.call raises."""
    with pytest.raises(TimeoutError) as caught:
        client.call(30)
    return str(caught.value)


class EnoughError(Exception):
    """Ends what would go on: neither the connection's nor the server's failure."""


@pytest.fixture
def pauses(monkeypatch):
    """Records how long scripts in this process sleep, instead of sleeping; the sixth ends all."""

    def sleep(seconds):
        recorded.append(seconds)
        if len(recorded) == 6:
            raise EnoughError

    recorded: list[float] = []
    monkeypatch.setattr(time, "sleep", sleep)
    return recorded


DOUBLING = [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]


# "rpc_queue does not exist"


@pytest.mark.usefixtures("no_queue")
class TestNoServerHasRun:
    REASON = "rpc_queue does not exist; start server.py"

    def test_the_client_says_so_at_once_and_fails_at_its_timeout(self, run):
        calling = run("client.py", "--timeout", "1")
        calling.says(f"No reply yet: {self.REASON}")
        assert calling.process.poll() is None
        assert fails_in_one_line(calling) == f" [!] No reply within 1 s: {self.REASON}"
        assert 3 <= calling.err.count(f"No reply yet: {self.REASON}\n") <= 6  # one an attempt

    def test_the_pauses_between_attempts_double_up_to_a_second(self, client, pauses):
        with pytest.raises(EnoughError):
            client.call(30)
        assert pauses == DOUBLING

    def test_no_pause_goes_beyond_the_timeout(self, client, monkeypatch):
        monkeypatch.setattr("client.time.sleep", (pauses := list[float]()).append)
        client.timeout = 0.05
        timed_out(client)
        assert 0 < max(pauses) <= 0.05


def test_a_failure_without_words_is_called_by_its_name(client, monkeypatch):
    nameless = Mock(side_effect=pika.exceptions.AMQPError)
    monkeypatch.setattr("client.RpcConnection.request", nameless)
    client.timeout = 0.05
    assert "AMQPError" in timed_out(client)


# "is server.py up?"


@pytest.mark.usefixtures("idle_queue")
class TestNoServerAnswers:
    REASON = "is server.py up?"

    def test_a_call_waits_without_polling_and_its_request_expires(
        self, broker, client, monkeypatch
    ):
        wait = Mock(wraps=client.rpc.connection.process_data_events)
        monkeypatch.setattr(client.rpc.connection, "process_data_events", wait)
        client.timeout = 1
        assert timed_out(client) == f"No reply within 1 s: {self.REASON}"
        assert wait.call_count <= 3
        assert wait.call_args_list[0].kwargs["time_limit"] < 1  # what is left
        until(lambda: broker.queue().message_count == 0)

    def test_the_client_asks_after_a_second_whether_server_py_is_up(self, run):
        run("client.py", "--timeout", "60").says(f"No reply yet: {self.REASON}")


def test_a_memory_alarm_ends_calls_at_their_timeout_and_all_goes_on_after_it(
    node, client, server, run, in_thread
):
    assert client.call(10) == 55
    node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        impatient = FibonacciRpcClient(node.url, timeout=1)
        started = time.monotonic()
        assert TestNoServerAnswers.REASON in timed_out(impatient)
        impatient.close()  # without a blocked_connection_timeout, until the alarm is over
        assert time.monotonic() - started < 30
        assert impatient.rpc.connection.is_closed
        line = fails_in_one_line(run("client.py", "--timeout", "1"))
        assert line == f" [!] No reply within 1 s: {TestNoServerAnswers.REASON}"
        answer = in_thread(client.call, 20)
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")
    assert answer.result(60) == 6765
    assert server.out.count(AWAITING) == 1


STOPS = {"SIGTERM": 0, "SIGINT": 0, "SIGKILL": -9}


@pytest.mark.parametrize("name", STOPS)
def test_a_signal_ends_a_busy_server_at_once_and_its_request_goes_to_another(
    client, no_queue, start_server, in_thread, name
):
    work = "lambda n: print('busy', flush=True) or time.sleep(600)"
    busy = start_server("-c", f"import server, time; server.fib = {work}; server.main()")
    answer = in_thread(client.call, 30)
    busy.prints("busy")
    start_server()
    assert busy.stop(name) == STOPS[name]
    assert busy.err == ""
    assert answer.result(60) == 832040


def test_stops_and_starts_of_servers_lose_no_call_and_give_no_wrong_answer(
    client, no_queue, start_server, in_thread
):
    numbers = random.Random(1)
    asked = [numbers.randrange(20_001) for _ in range(60)]
    answers = in_thread(lambda: [client.call(n) for n in asked])
    while not answers.done():
        start_server().stop(numbers.choice(list(STOPS)))
    assert answers.result() == [fib(n) for n in asked]


# "ConnectionRefusedError"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:5672"])
def test_without_a_broker_the_client_names_host_and_port_and_fails(run_alone, address):
    line = fails_in_one_line(run_alone("client.py", AMQP_URL=f"amqp://guest:secret@{address}"))
    assert line.startswith(f" [!] No connection to RabbitMQ at {address}: ")


def test_the_constructor_raises_connection_error(broker):
    for url in (NOBODY, refused(broker, "403")):
        with pytest.raises(ConnectionError, match="No connection to RabbitMQ at "):
            FibonacciRpcClient(url)


def test_without_a_broker_a_server_names_host_and_port_and_goes_on_trying(run_alone):
    printing = "time.sleep = lambda seconds: print('pause', seconds, flush=True)"
    server = run_alone("-c", f"import server, time; {printing}; server.main()")
    server.prints("pause 1", times=3)
    line, pause, *_ = server.out.splitlines()
    assert line.startswith(" [!] RabbitMQ at 127.0.0.1:1: AMQPConnectionError: ")
    assert "ConnectionRefusedError" in line
    assert pause == "pause 1"
    assert "secret" not in server.out + server.err
    assert server.process.poll() is None


def test_a_crash_of_rabbitmq_costs_no_server_no_idle_client_and_no_call_that_waits(
    node, client, server, in_thread
):
    assert client.call(10) == 55
    server.process.send_signal(signal.SIGSTOP)  # so that a call waits
    with FibonacciRpcClient(node.url, timeout=120) as waiting:
        answer = in_thread(waiting.call, 30)
        until(lambda: "1" in node.ctl("list_queues", "messages_unacknowledged").split())
        node.stop()
        server.process.send_signal(signal.SIGCONT)
        server.says("ConnectionRefusedError")
        node.start()
        assert answer.result(120) == 832040
    assert client.call(20) == 6765
    assert server.process.poll() is None


def test_heartbeats_keep_a_waiting_client_and_an_idle_one_reconnects_without_a_pause(
    node, idle_queue, start_server, in_thread, caplog, monkeypatch
):
    caplog.set_level("WARNING")
    url = f"{node.url}?heartbeat=1"
    with FibonacciRpcClient(url, 60) as waiting, FibonacciRpcClient(url, 60) as idle:
        before = waiting.rpc
        answer = in_thread(waiting.call, 30)
        until(lambda: idle.rpc.callback_queue not in node.ctl("list_queues", "name"))
        start_server()
        assert answer.result(60) == 832040
        assert waiting.rpc is before
        monkeypatch.setattr("client.time.sleep", (pauses := list[float]()).append)
        assert idle.call(30) == 832040
    assert pauses == [0]
    (warning,) = [record for record in caplog.records if record.name == "client"]
    assert len(warning.getMessage()) > len("No reply yet: ")
    assert "called on closed connection" not in caplog.text  # an error of pika's


# "IncompatibleProtocolError"


def test_another_protocols_port_fails_in_one_line_and_a_server_goes_on_trying(node, run):
    url = node.url.replace(f":{node.port}", f":{node.tls_port}")
    assert "IncompatibleProtocolError" in fails_in_one_line(run("client.py", AMQP_URL=url))
    run("server.py", AMQP_URL=url).says("IncompatibleProtocolError", times=2)


# "ACCESS_REFUSED", "NOT_ALLOWED"


def refused(broker, code):
    """Return the broker's URL with a password or a virtual host that it refuses."""
    if code == "403":
        return re.sub(r"//([^:/]+):[^@]+@", r"//\1:secret@", broker.url)
    return re.sub(r"(//[^/?]+)(/[^?]*)?", r"\1/no-such-vhost", broker.url)


@pytest.mark.parametrize(("code", "name"), [("403", "ACCESS_REFUSED"), ("530", "NOT_ALLOWED")])
def test_a_refused_login_or_virtual_host_fails_in_one_line(broker, run, code, name):
    url = refused(broker, code)
    assert name in fails_in_one_line(run("client.py", AMQP_URL=url))
    server = run("server.py", AMQP_URL=url)
    server.says(f"({code})", times=2)
    assert "secret" not in server.out + server.err


def test_a_refused_callback_queue_leaves_no_connection_open(node, user, run):
    url = user(configure="", write=".*", read=".*")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1") as caught:
        FibonacciRpcClient(url)
    until(lambda: "tester" not in node.ctl("list_connections", "user"))
    # Until here, this name keeps Python from closing the connection as garbage.
    assert "ACCESS_REFUSED" in str(caught.value)
    assert "ACCESS_REFUSED" in fails_in_one_line(run("client.py", AMQP_URL=url))


# "Cannot declare rpc_queue"


def test_a_quorum_queue_is_consumed_as_it_is_and_the_server_says_so(
    channel, no_queue, start_server
):
    channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})
    server = start_server()
    assert ask(channel, b"30")[2] == b"832040"
    warning, *others = server.out.splitlines()
    assert warning.startswith(" [!] Cannot declare rpc_queue; using it as it is: ")
    assert "406" in warning
    assert others == [AWAITING, " [.] fib(30)"]


def test_a_server_whose_user_may_not_declare_consumes_the_queue_that_exists(
    client, idle_queue, user, start_server
):
    server = start_server(AMQP_URL=user(configure="", write="^amq.default$", read=".*"))
    assert client.call(30) == 832040
    assert server.out.startswith(" [!] Cannot declare rpc_queue; using it as it is: ")
    assert "403" in server.out


# "CERTIFICATE_VERIFY_FAILED"


@pytest.fixture
def tls(node):
    """The environment in which the scripts use TLS, and trust the broker's certificate."""
    return {
        "AMQP_URL": f"amqps://guest:guest@127.0.0.1:{node.tls_port}/%2F",
        "SSL_CERT_FILE": str(node.authority),
    }


def test_a_certificate_of_ones_own_authority_is_accepted(tls, no_queue, start_server, run):
    start_server(**tls)
    assert run("client.py", **tls).exit_code() == 0


@pytest.mark.parametrize("wrong", ["authority", "host"])
def test_a_wrong_certificate_is_refused(tls, run, wrong):
    if wrong == "authority":
        del tls["SSL_CERT_FILE"]
    else:
        tls["AMQP_URL"] = tls["AMQP_URL"].replace("127.0.0.1", "127.0.0.2")
    assert "CERTIFICATE_VERIFY_FAILED" in fails_in_one_line(run("client.py", **tls))
    run("server.py", **tls).says("CERTIFICATE_VERIFY_FAILED", times=2)


# "RabbitMQ closed the channel or deleted the callback queue", "was rpc_queue deleted?"


def test_a_user_who_may_not_publish_is_told_so_and_leaves_no_connection_open(
    node, no_queue, user, pauses, caplog
):
    caplog.set_level("WARNING", "client")
    client = FibonacciRpcClient(user(configure="^amq", write="", read="^amq"), timeout=60)
    with pytest.raises(EnoughError):
        client.call(30)
    assert pauses == DOUBLING
    assert "RabbitMQ closed the channel" in caplog.text or "ACCESS_REFUSED" in caplog.text
    until(lambda: "tester" not in node.ctl("list_connections", "user"))


def test_a_callback_queue_deleted_during_a_call_is_made_again(
    node, client, idle_queue, run, in_thread
):
    old = client.rpc
    answer = in_thread(client.call, 30)
    until(lambda: node.queue().message_count)
    node.ctl("delete_queue", old.callback_queue)
    run("server.py")
    assert answer.result(60) == 832040
    assert old.connection.is_closed


def test_a_deleted_rpc_queue_is_declared_again_and_the_server_says_why(broker, client, server):
    broker.delete_queue()
    assert client.call(30) == 832040
    first, failure, second, _ = server.out.splitlines()
    assert first == second == AWAITING
    assert "was rpc_queue deleted?" in failure
    assert failure.endswith("; reconnecting in a second")


# One request ends or stops server after server


class AfterYear9999(datetime):
    """What pika encodes, and pika 1.4 cannot decode."""

    def utctimetuple(self):
        return 9999, 12, 32, 0, 0, 0


FAR_TIME = pika.BasicProperties(headers={"x": AfterYear9999(1, 1, 1)})
FORGED = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to.g1h2AA9yZXBseUA1NTY3.x")


@pytest.mark.parametrize("poison", [FAR_TIME, FORGED], ids=["far time", "forged reply_to"])
def test_a_known_limit_a_poisonous_message_goes_round_until_the_queue_is_purged(
    node, channel, server, start_server, poison
):
    channel.basic_publish("", "rpc_queue", b"30", poison)
    if poison is FORGED:  # RabbitMQ takes and drops the reply
        harmless = Version(node.ctl("version").strip()) >= Version("4.1")
    else:
        harmless = Version(pika.__version__).release >= (1, 5)
    if harmless:
        assert ask(channel, b"30")[2] == b"832040"
        assert "reconnecting" not in server.out
    else:
        server.says("reconnecting", times=2)
    server.stop()
    until(lambda: node.queue().consumer_count == 0)
    channel.queue_purge("rpc_queue")
    start_server()
    assert ask(channel, b"30")[2] == b"832040"


def test_a_request_that_ends_its_server_comes_back_and_ends_the_next(broker, idle_queue, run):
    deadly = "import os, server; server.fib = lambda n: os._exit(3); server.main()"
    run("client.py", "--timeout", "60")
    until(lambda: broker.queue().message_count)
    for _ in range(2):
        assert run("-c", deadly).exit_code() == 3


# A call takes minutes: RabbitMQ hangs, or the work outlasts its heartbeats


def test_while_rabbitmq_hangs_no_call_waits_beyond_its_timeout(node, client, idle_queue, run):
    waiting = run("client.py", "--timeout", "5")
    until(lambda: node.queue().message_count)
    client.timeout = 1
    assert node.executor.process
    os.killpg(node.executor.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert TestNoServerAnswers.REASON in timed_out(client)
        assert "StackTimeout" in fails_in_one_line(run("client.py", "--timeout", "1"))
        assert TestNoServerAnswers.REASON in fails_in_one_line(waiting)
        assert time.monotonic() - started < 60  # heartbeats would end it after 65 seconds
    finally:
        os.killpg(node.executor.process.pid, signal.SIGCONT)


def test_a_call_that_meets_silence_keeps_its_timeout(node, client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client.close()
        client.parameters.port = silent.getsockname()[1]
        client.timeout = 1
        assert f"RabbitMQ at 127.0.0.1:{client.parameters.port}" in timed_out(client)
    assert client.parameters.stack_timeout < 1  # what was left, not the whole timeout


def test_long_work_is_done_once_with_a_heartbeat_at_the_end_of_the_servers_url(
    node, client, no_queue, start_server
):
    work = "lambda n: time.sleep(4) or n"  # outlasts a heartbeat of a second
    program = f"import server, time; server.fib = {work}; server.main()"
    node.ctl("eval", "application:set_env(rabbit, heartbeat, 1).")
    try:
        server = start_server("-c", program, AMQP_URL=f"{node.url}?heartbeat=1800")
    finally:
        node.ctl("eval", "application:set_env(rabbit, heartbeat, 60).")
    assert client.call(30) == 30
    assert server.out == f"{AWAITING}\n [.] fib(30)\n"


# Failures that are not the connection's


@pytest.mark.usefixtures("idle_queue")
@pytest.mark.parametrize("exception", [EnoughError, TimeoutError])
def test_what_a_signal_handler_raises_leaves_call_at_once(broker, client, in_thread, exception):
    def handle(*_):
        raise exception("from the handler")

    def interrupt():
        until(lambda: broker.queue().message_count)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        in_thread(interrupt)
        with pytest.raises(exception, match="from the handler"):
            client.call(30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert broker.queue().message_count == 1  # the request was not sent again


def test_a_failure_of_the_function_has_its_line_in_the_log_and_the_server_goes_on(
    client, no_queue, start_server
):
    deeper = "\ndef deeper(n):\n    return {30: 832040}[n]\n"
    program = f"import server{deeper}\nserver.fib = lambda n: deeper(n)\nserver.main()"
    server = start_server("-c", program)
    with pytest.raises(RpcError, match=r"KeyError\(7\)"):
        client.call(7)
    assert "line 3, in deeper\n" in server.out
    assert client.call(30) == 832040


def test_a_bug_in_on_request_ends_the_server_with_its_line(idle_queue, start_server, run):
    server = start_server("-c", "import server; server.make_reply = None; server.main()")
    run("client.py")
    assert server.exit_code() == 1
    assert "in on_request\n" in server.err
    assert "TypeError" in server.err
    assert "reconnecting" not in server.out
