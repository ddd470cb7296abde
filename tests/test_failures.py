"""What goes wrong: each failure, what users then see, and how it ends."""

import os
import signal
import threading
import time
from unittest.mock import Mock

import pytest

from client import FibonacciRpcClient
from harness import AWAITING, ask, error_line, until
from server import fib


def timed_out(client):
    """Return the words of the TimeoutError that client.call raises."""
    with pytest.raises(TimeoutError) as caught:
        client.call(30)
    return str(caught.value)


# "rpc_queue does not exist"

NO_QUEUE = "rpc_queue does not exist; start server.py"


def test_without_a_queue_the_client_says_so_at_once_and_fails_at_its_timeout(no_queue, run):
    calling = run("client.py", "--timeout", "1")
    calling.says(f"No reply yet: {NO_QUEUE}")
    assert calling.process.poll() is None
    assert error_line(calling) == f" [!] No reply in time: {NO_QUEUE}"
    assert 2 <= calling.err.count(f"No reply yet: {NO_QUEUE}\n") <= 3  # one an attempt


def test_a_call_tries_again_at_once_then_each_second_and_ends_at_its_timeout(
    no_queue, client, caplog
):
    caplog.set_level("WARNING", "client")
    client.timeout = 1.5
    started = time.monotonic()
    assert timed_out(client) == f"No reply in time: {NO_QUEUE}"
    assert 1.5 <= time.monotonic() - started < 2  # at 2, if it paused for a whole second again
    assert caplog.text.count("No reply yet: ") == 3


# "is server.py up?"

NO_ANSWER = "No reply in time: is server.py up?"


def test_a_call_waits_without_polling_and_its_request_expires(
    broker, idle_queue, client, monkeypatch
):
    wait = Mock(wraps=client.connection.process_data_events)
    monkeypatch.setattr(client.connection, "process_data_events", wait)
    client.timeout = 1
    assert timed_out(client) == NO_ANSWER
    assert wait.call_count <= 3
    assert wait.call_args_list[0].kwargs["time_limit"] < 1  # what is left
    until(lambda: broker.queue().message_count == 0)


@pytest.mark.parametrize("failure", ["", "refused"])
def test_a_call_that_spends_its_time_on_reconnecting_sends_no_request(client, monkeypatch, failure):
    def connect(timeout):
        time.sleep(timeout)
        if failure:
            raise ConnectionError(failure)

    client.close()
    client.timeout = 1
    monkeypatch.setattr(client, "connect", connect)
    monkeypatch.setattr(client.rpc, "request", request := Mock())
    assert timed_out(client) == f"No reply in time: {failure or 'connecting took too long'}"
    assert not request.called


def test_a_memory_alarm_ends_calls_at_their_timeout_and_all_goes_on_after_it(
    node, client, server, in_thread
):
    node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        impatient = FibonacciRpcClient(node.url, timeout=1)
        assert timed_out(impatient) == NO_ANSWER
        impatient.close()  # without a blocked_connection_timeout, it would wait for the finally
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
    change = "works = iter([0, 0, 600]); fib = server.fib\n"  # its third request never ends
    change += "server.fib = lambda n: time.sleep(next(works)) or fib(n)"
    lives = []
    for name in 2 * list(STOPS):
        server = start_server(change)
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


# RabbitMQ refuses: "ConnectionRefusedError", "IncompatibleProtocolError", "ACCESS_REFUSED", ...

REFUSALS = {
    "amqp://guest:secret@127.0.0.1:1": "ConnectionRefusedError",
    "amqp://guest:secret@no-such-host.invalid:5672": "gaierror",
    "amqp://{login}@127.0.0.1:{tls_port}": "IncompatibleProtocolError",
    "amqp://guest:secret@127.0.0.1:{port}": "ACCESS_REFUSED",
    "amqp://{login}@127.0.0.1:{port}/no-such-vhost": "NOT_ALLOWED",
    "amqps://{login}@127.0.0.1:{tls_port}": "CERTIFICATE_VERIFY_FAILED",
}


@pytest.mark.parametrize("url", REFUSALS)
def test_a_refusal_is_one_line_of_the_client_and_a_server_goes_on_trying(node, run, url):
    words, url = REFUSALS[url], url.format(**vars(node))
    address = url.split("@")[1].split("/")[0]
    calling, server = run("client.py", AMQP_URL=url), run("server.py", AMQP_URL=url)
    line = error_line(calling)
    assert line.startswith(f" [!] RabbitMQ at {address}: ")
    assert words in line
    server.says(f" [!] RabbitMQ at {address}: ", times=2)
    assert words in server.out
    assert "secret" not in server.out + server.err


def test_ones_own_authority_is_accepted(node, no_queue, start_server, run):
    tls = {
        "AMQP_URL": f"amqps://{node.login}@127.0.0.1:{node.tls_port}",
        "SSL_CERT_FILE": str(node.authority),
    }
    start_server(**tls)
    assert run("client.py", **tls).exit_code() == 0


def test_a_server_tries_again_in_a_second(run_alone):
    printing = "time.sleep = lambda seconds: print('pause', seconds, flush=True)"
    run_alone("-c", f"import server, time; {printing}; server.main()").says("pause 1", times=3)


def test_a_refused_callback_queue_leaves_no_connection_open(node, add_user, run):
    url = add_user("writer", "secret", "", ".*", ".*")
    with pytest.raises(ConnectionError, match=r"RabbitMQ at 127\.0\.0\.1.*ACCESS_REFUSED") as error:
        FibonacciRpcClient(url)
    until(lambda: "writer" not in node.ctl("list_connections", "user"))
    assert error  # until here, it keeps Python from closing the connection as garbage
    assert "ACCESS_REFUSED" in error_line(run("client.py", AMQP_URL=url))


def test_a_user_who_may_not_publish_is_told_so_and_leaves_no_connection_open(
    node, no_queue, add_user, caplog
):
    caplog.set_level("WARNING", "client")
    client = FibonacciRpcClient(add_user("reader", "secret", "^amq", "", "^amq"), timeout=1.5)
    timed_out(client)
    warnings = [line for line in caplog.text.splitlines() if "No reply yet: " in line]
    assert len(warnings) >= 2
    for warning in warnings:  # pika 1.5 names the refusal itself
        assert "see RabbitMQ's log" in warning or "ACCESS_REFUSED" in warning
    client.close()
    until(lambda: "reader" not in node.ctl("list_connections", "user"))


# RabbitMQ ends, or heartbeats do


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
        assert waiting.parameters.stack_timeout < 120  # what was left of the timeout
    assert client.call(20) == 6765


def test_heartbeats_keep_a_waiting_client_and_an_idle_one_reconnects_at_once(
    node, idle_queue, start_server, in_thread, caplog
):
    caplog.set_level("WARNING", "client")
    url = f"{node.url}?heartbeat=1"
    with FibonacciRpcClient(url, 60) as waiting, FibonacciRpcClient(url, 60) as idle:
        before = waiting.rpc
        answer = in_thread(waiting.call, 30)
        until(lambda: idle.rpc.callback_queue not in node.ctl("list_queues", "name"))
        start_server()
        assert answer.result(60) == 832040
        assert waiting.rpc is before
        assert idle.call(30) == 832040
    assert caplog.text.count("No reply yet: ") == 1  # the idle client's, then it was answered


# "inequivalent arg", "rpc_queue deleted"


def test_a_server_that_meets_a_queue_with_other_settings_goes_on_until_it_is_deleted(
    broker, channel, client, no_queue, run
):
    channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})
    server = run("server.py")
    server.says("inequivalent arg", times=2)
    broker.delete_queue("rpc_queue")
    assert client.call(30) == 832040


def test_a_deleted_rpc_queue_is_declared_again_and_the_server_says_why(broker, client, server):
    broker.delete_queue("rpc_queue")
    assert client.call(30) == 832040
    first, failure, second, _ = server.out.splitlines()
    assert first == second == AWAITING
    assert "consumer cancelled: rpc_queue deleted" in failure
    assert failure.endswith("; reconnecting in a second")


# One request ends server after server


def test_a_request_that_ends_its_server_goes_round_until_the_queue_is_purged(
    broker, channel, idle_queue, start_server
):
    channel.basic_publish("", "rpc_queue", b"7")
    for _ in range(2):
        assert start_server("server.fib = lambda n: os._exit(3)").exit_code() == 3
    until(lambda: broker.queue().message_count)
    channel.queue_purge("rpc_queue")
    server = start_server()
    assert ask(channel, b"30")[2] == b"832040"
    assert server.out == f"{AWAITING}\n [.] fib(30)\n"


# The network falls silent: no packet of a connection arrives, and nobody says so


def test_a_call_over_a_silent_network_is_answered_within_its_timeout(host, server, run):
    calling = "import client\nwith client.FibonacciRpcClient(timeout=10) as rpc:\n"
    calling += "    while True: print(rpc.call(30), flush=True)"
    caller = run("-c", calling, netns=host.name, AMQP_URL=host.url)
    caller.says("832040")
    host.fall_silent()
    caller.says("No reply yet: ")
    caller.says("832040", times=caller.out.count("832040") + 2)
    assert caller.process.poll() is None  # no call has failed


def test_an_idle_server_notices_a_silent_network_in_seconds(host, client, no_queue, start_server):
    start_server(netns=host.name, AMQP_URL=host.url)
    assert client.call(10) == 55
    host.fall_silent()
    client.timeout = 1
    assert timed_out(client) == NO_ANSWER  # RabbitMQ still holds this request for the server
    client.timeout = 60  # heartbeats alone need two minutes
    assert client.call(20) == 6765


# A call takes minutes: RabbitMQ hangs, or the work outlasts its heartbeats


def test_while_rabbitmq_hangs_calls_end_at_their_timeout_and_a_server_at_once(
    node, client, no_queue, start_server, run
):
    server = start_server("server.fib = lambda n: time.sleep(600)")
    waiting = run("client.py", "--timeout", "5")
    server.says(" [.] fib(30)")
    client.timeout = 3
    assert node.executor.process
    os.killpg(node.executor.process.pid, signal.SIGSTOP)
    try:
        connecting = run("client.py", "--timeout", "3")
        another = run("server.py", AMQP_URL=f"{node.url}?stack_timeout=1")
        connecting.says(" [x] Requesting fib(30)")
        assert connecting.process.poll() is None  # it says so before it connects
        started = time.monotonic()
        assert timed_out(client) == NO_ANSWER
        assert 3 <= time.monotonic() - started < 6
        assert error_line(waiting) == f" [!] {NO_ANSWER}"
        assert "StackTimeout" in error_line(connecting)
        assert time.monotonic() - started < 12  # pika's own limit is 15
        another.says("StackTimeout", times=2)
        assert server.stop("SIGTERM") == 0
    finally:
        os.killpg(node.executor.process.pid, signal.SIGCONT)


def test_work_that_outlasts_heartbeats_runs_again(broker, client, no_queue, start_server):
    # The first work outlasts heartbeats of a second; the second is short, so that the test ends.
    work = "works = iter([5, 0]); server.fib = lambda n: time.sleep(next(works)) or n"
    server = start_server(work, AMQP_URL=f"{broker.url}?heartbeat=1")
    assert client.call(30) == 30
    assert server.out.count(" [.] fib(30)\n") == 2


def test_rabbitmq_takes_the_heartbeat_of_the_servers_url(node, no_queue, start_server):
    start_server(AMQP_URL=f"{node.url}?heartbeat=1800")
    assert "1800" in node.ctl("list_connections", "timeout").split()


# A bug


def test_a_bug_in_the_servers_own_code_ends_it_with_its_line(idle_queue, start_server, run):
    server = start_server("server.pika.BasicProperties = 0")
    run("client.py")
    assert server.exit_code() == 1
    assert "in on_request\n" in server.err
    assert "TypeError" in server.err
    assert "reconnecting" not in server.out
