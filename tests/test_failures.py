"""What goes wrong, in the order of README's table "When something goes wrong"."""

import os
import re
import signal
import socket
import threading
import time
from unittest.mock import Mock

import pytest

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
    """Records the client's pauses between attempts, instead of making them; the third ends all."""

    def sleep(seconds):
        recorded.append(seconds)
        if len(recorded) == 3:
            raise EnoughError

    recorded: list[float] = []
    monkeypatch.setattr("client.time", Mock(wraps=time, sleep=sleep))
    return recorded


# "rpc_queue does not exist"

NO_QUEUE = "rpc_queue does not exist; start server.py"


@pytest.mark.usefixtures("no_queue")
class TestNoServerHasRun:
    def test_the_client_says_so_at_once_and_fails_at_its_timeout(self, run):
        calling = run("client.py", "--timeout", "1")
        calling.says(f"No reply yet: {NO_QUEUE}")
        assert calling.process.poll() is None
        assert fails_in_one_line(calling) == f" [!] No reply in time: {NO_QUEUE}"
        assert 2 <= calling.err.count(f"No reply yet: {NO_QUEUE}\n") <= 3  # one an attempt

    def test_the_client_tries_again_at_once_and_then_each_second(self, client, pauses):
        with pytest.raises(EnoughError):
            client.call(30)
        assert pauses == [0, 1, 1]

    def test_no_pause_goes_beyond_the_timeout(self, client, pauses):
        client.timeout = 0.5
        with pytest.raises((EnoughError, TimeoutError)):
            client.call(30)
        assert 0 < max(pauses) <= 0.5


# "is server.py up?"

NO_ANSWER = "No reply in time: is server.py up?"


@pytest.mark.usefixtures("idle_queue")
def test_a_call_waits_without_polling_and_its_request_expires(broker, client, monkeypatch):
    wait = Mock(wraps=client.connection.process_data_events)
    monkeypatch.setattr(client.connection, "process_data_events", wait)
    client.timeout = 1
    assert timed_out(client) == NO_ANSWER
    assert wait.call_count <= 3
    assert wait.call_args_list[0].kwargs["time_limit"] < 1  # what is left
    until(lambda: broker.queue().message_count == 0)


def test_a_memory_alarm_ends_calls_at_their_timeout_and_all_goes_on_after_it(
    node, client, server, in_thread
):
    assert client.call(10) == 55
    node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        impatient = FibonacciRpcClient(node.url, timeout=1)
        started = time.monotonic()
        assert timed_out(impatient) == NO_ANSWER
        impatient.close()  # without a blocked_connection_timeout, until the alarm is over
        assert time.monotonic() - started < 30
        assert impatient.rpc.connection.is_closed
        answer = in_thread(client.call, 20)
    finally:
        node.ctl("set_vm_memory_high_watermark", "0.6")
    assert answer.result(60) == 6765
    assert server.out.count(AWAITING) == 1


# A server that dies leaves its request to the next

STOPS = {"SIGTERM": 0, "SIGINT": 0, "SIGKILL": -9}


def test_servers_that_end_with_a_request_in_hand_lose_no_call(
    client, no_queue, start_server, in_thread
):
    def ask_on():
        answers: list[tuple[int, int]] = []
        while not enough.is_set():
            n = 20_000 - 37 * len(answers)
            answers.append((n, client.call(n)))
        return answers

    enough = threading.Event()
    calls = in_thread(ask_on)
    work = "works = iter([0, 0, 600]); fib = server.fib; server.fib = "
    work += "lambda n: time.sleep(next(works)) or fib(n)"  # ends in the third request at the latest
    lives = []
    for name in 2 * list(STOPS):
        server = start_server("-c", f"import server, time; {work}; server.main()")
        server.says(" [.] fib(", times=3)
        assert server.stop(name) == STOPS[name]
        assert server.err == ""
        lives.append(server)
    enough.set()
    lives.append(start_server())
    answers = calls.result(60)
    assert answers == [(n, fib(n)) for n, _ in answers]
    begun = sum(life.out.count(" [.] fib(") for life in lives)
    assert begun == len(answers) + 6  # each of the six had one in hand


# RabbitMQ is not running


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:5672"])
def test_without_a_broker_the_client_names_host_and_port_and_fails(run_alone, address):
    line = fails_in_one_line(run_alone("client.py", AMQP_URL=f"amqp://guest:secret@{address}"))
    assert line.startswith(f" [!] RabbitMQ at {address}: ")


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


def test_heartbeats_keep_a_waiting_client_and_an_idle_one_reconnects_at_once(
    node, idle_queue, start_server, in_thread, caplog, pauses
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
        assert idle.call(30) == 832040
    assert pauses == [0]
    (warning,) = [record for record in caplog.records if record.name == "client"]
    assert len(warning.getMessage()) > len("No reply yet: ")
    assert "called on closed connection" not in caplog.text  # an error of pika's


# "inequivalent arg"


def test_a_server_that_meets_a_queue_with_other_settings_goes_on_until_it_is_deleted(
    broker, channel, client, no_queue, run
):
    channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})
    server = run("server.py")
    server.says("inequivalent arg", times=2)
    broker.delete_queue()
    assert client.call(30) == 832040


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


def test_the_constructor_raises_connection_error(broker):
    for url in (NOBODY, refused(broker, "403")):
        with pytest.raises(ConnectionError, match="RabbitMQ at "):
            FibonacciRpcClient(url)


def test_a_refused_callback_queue_leaves_no_connection_open(node, user, run):
    url = user(configure="", write=".*", read=".*")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1") as caught:
        FibonacciRpcClient(url)
    until(lambda: "tester" not in node.ctl("list_connections", "user"))
    # Until here, this name keeps Python from closing the connection as garbage.
    assert "ACCESS_REFUSED" in str(caught.value)
    assert "ACCESS_REFUSED" in fails_in_one_line(run("client.py", AMQP_URL=url))


def test_a_user_who_may_not_publish_is_sent_to_the_log_and_leaves_no_connection_open(
    node, no_queue, user, pauses, caplog
):
    caplog.set_level("WARNING", "client")
    client = FibonacciRpcClient(user(configure="^amq", write="", read="^amq"), timeout=60)
    with pytest.raises(EnoughError):
        client.call(30)
    assert "Channel closed or callback queue gone; see RabbitMQ's log" in caplog.text
    client.close()
    until(lambda: "tester" not in node.ctl("list_connections", "user"))


# A queue that is deleted


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


# One request ends server after server


def test_a_request_that_ends_its_server_goes_round_until_the_queue_is_purged(
    broker, channel, idle_queue, run, start_server
):
    channel.basic_publish("", "rpc_queue", b"7")
    deadly = "import os, server; server.fib = lambda n: os._exit(3); server.main()"
    for _ in range(2):
        assert run("-c", deadly).exit_code() == 3
    until(lambda: broker.queue().message_count)
    channel.queue_purge("rpc_queue")
    server = start_server()
    assert ask(channel, b"30")[2] == b"832040"
    assert server.out == f"{AWAITING}\n [.] fib(30)\n"


# A call takes minutes: RabbitMQ hangs, or the work outlasts its heartbeats


def test_while_rabbitmq_hangs_a_call_ends_at_its_timeout(node, client, idle_queue, run):
    waiting = run("client.py", "--timeout", "5")
    until(lambda: node.queue().message_count)
    client.timeout = 3
    assert node.executor.process
    os.killpg(node.executor.process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert timed_out(client) == NO_ANSWER
        assert 3 <= time.monotonic() - started < 6
        assert fails_in_one_line(waiting) == f" [!] {NO_ANSWER}"
        assert "StackTimeout" in fails_in_one_line(run("client.py", "--timeout", "1"))
    finally:
        os.killpg(node.executor.process.pid, signal.SIGCONT)


def test_a_call_that_meets_silence_keeps_its_timeout(node, client):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client.close()
        client.parameters.port = silent.getsockname()[1]
        client.timeout = 1
        assert f"RabbitMQ at 127.0.0.1:{client.parameters.port}" in timed_out(client)
    assert client.parameters.stack_timeout < 1  # what was left, not the whole timeout


@pytest.mark.parametrize(("option", "runs"), [("", 2), ("?heartbeat=1800", 1)])
def test_long_work_runs_again_without_a_heartbeat_at_the_end_of_the_servers_url(
    node, client, no_queue, start_server, in_thread, option, runs
):
    # The first work outlasts a heartbeat of a second; the second is short, so that the test ends.
    work = "works = iter([5, 0]); server.fib = lambda n: time.sleep(next(works)) or n"
    node.ctl("eval", "application:set_env(rabbit, heartbeat, 1).")
    try:
        server = start_server(
            "-c", f"import server, time; {work}; server.main()", AMQP_URL=f"{node.url}{option}"
        )
        assert client.call(30) == 30
    finally:
        node.ctl("eval", "application:set_env(rabbit, heartbeat, 60).")
    assert server.out.count(" [.] fib(30)\n") == runs


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


def test_a_bug_in_the_servers_own_code_ends_it_with_its_line(idle_queue, start_server, run):
    server = start_server("-c", "import server; server.pika.BasicProperties = 0; server.main()")
    run("client.py")
    assert server.exit_code() == 1
    assert "in on_request\n" in server.err
    assert "TypeError" in server.err
    assert "reconnecting" not in server.out
