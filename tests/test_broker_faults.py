"""A broker that restarts, hangs, runs out of memory, or drops what it should keep."""

import signal
import socket
import time
from urllib.parse import quote

import pika
import pytest

from client import FibonacciRpcClient
from conftest import AWAITING, in_thread, until


def with_heartbeat(url, seconds):
    return f"{url}?heartbeat={seconds}"


def timed_out_after(client, n=30):
    """Return how many seconds client.call takes until it raises TimeoutError, and its words."""
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        client.call(n)
    return time.monotonic() - started, str(caught.value)


def waiting_request(channel):
    """Wait until a request lies in rpc_queue, which no server consumes."""
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)


def test_connections_that_the_operator_closed_are_made_again_by_server_idle_and_waiting_client(
    node, client, server
):
    assert client.call(10) == 55
    server.process.send_signal(signal.SIGSTOP)  # so that a call waits
    with FibonacciRpcClient(node.url) as waiting:
        answer = in_thread(waiting.call, 30)
        until(lambda: waiting.correlation_id)
        node.ctl("close_all_connections", "the operator says so")
        server.process.send_signal(signal.SIGCONT)
        assert until(lambda: answer) == [832040]
    assert server.err.count("\n") == 1
    assert client.call(30) == 832040


def test_a_deleted_rpc_queue_is_declared_again_and_the_server_says_why(channel, client, server):
    channel.queue_delete("rpc_queue")
    assert client.call(30) == 832040
    assert server.out.count(AWAITING) == 2
    assert server.err == (
        " [!] RabbitMQ stopped delivering requests (was rpc_queue deleted?); "
        "reconnecting in a second\n"
    )


def test_a_callback_queue_that_was_deleted_under_an_idle_client_is_made_again(node, client, server):
    assert client.call(10) == 55
    deleted = client.callback_queue
    queues = node.ctl("-q", "list_queues", "name", "messages").splitlines()
    assert f"{deleted}\t0" in queues  # the reply is acknowledged
    node.ctl("delete_queue", deleted)
    assert client.call(30) == 832040
    assert client.callback_queue != deleted


def test_a_callback_queue_that_is_deleted_during_a_call_is_made_again(
    node, client, channel, start_server
):
    channel.queue_declare("rpc_queue", durable=True)
    answer = in_thread(client.call, 30)
    waiting_request(channel)
    node.ctl("delete_queue", client.callback_queue)
    start_server()
    assert until(lambda: answer) == [832040]


def test_a_waiting_client_sends_heartbeats_and_an_idle_one_connects_again_when_they_ran_out(
    broker, channel, start_server
):
    channel.queue_declare("rpc_queue", durable=True)
    url = with_heartbeat(broker.url, 1)
    with FibonacciRpcClient(url) as waiting, FibonacciRpcClient(url) as idle:
        waits_for, dropped = waiting.callback_queue, idle.callback_queue
        answer = in_thread(waiting.call, 30)
        until(lambda: not queue_exists(broker, dropped))  # after two silent seconds
        start_server()
        assert until(lambda: answer) == [832040]
        assert waiting.callback_queue == waits_for
        assert idle.call(30) == 832040
        assert idle.callback_queue != dropped


def queue_exists(broker, queue):
    """Return whether a queue exists, closed to us or not."""
    with broker.connect() as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return error.reply_code != 404
        return True


@pytest.fixture
def user(node):
    """Makes a user of RabbitMQ with these permissions; returns a URL for it."""

    def add(configure, write, read):
        node.ctl("add_user", "tester", "secret")
        node.ctl("set_permissions", "tester", configure, write, read)
        return node.url.replace("guest:guest", "tester:secret")

    yield add
    node.ctl("delete_user", "tester")


def test_a_user_who_may_not_publish_is_told_so_and_tries_at_most_five_times_a_second(channel, user):
    class Counting(FibonacciRpcClient):
        connections = 0

        def connect(self, *arguments):
            Counting.connections += 1
            super().connect(*arguments)

    with Counting(user(configure="^amq", write="", read="^amq"), timeout=1) as client:
        seconds, words = timed_out_after(client)
    assert "RabbitMQ closed the channel" in words
    assert "log" in words
    assert "server" not in words
    assert 1 <= seconds < 1.5
    assert Counting.connections <= 6


def test_a_server_whose_user_may_not_declare_consumes_the_queue_that_exists(
    channel, client, user, run
):
    channel.queue_declare("rpc_queue", durable=True)
    server = run("server.py", AMQP_URL=user(configure="", write="^amq.default$", read=".*"))
    server.says(AWAITING)
    assert client.call(30) == 832040
    assert "403" in server.err


def test_a_memory_alarm_ends_calls_at_their_timeout_and_both_go_on_once_it_is_over(
    node, server, run
):
    with FibonacciRpcClient(node.url) as patient:
        assert patient.call(10) == 55
        node.ctl("set_vm_memory_high_watermark", "0.00001")
        try:
            client = FibonacciRpcClient(node.url, timeout=1)
            script = run("client.py", "--timeout", "1")
            seconds, _ = timed_out_after(client)
            assert 1 <= seconds < 1.5
            started = time.monotonic()
            client.close()
            assert time.monotonic() - started < 1.5
            assert client.connection.is_closed
            assert script.exit_code(seconds=3) == 1
            assert script.err.startswith(" [!] No reply within 1 s: ")
            assert script.err.count("\n") == 1
            answer = in_thread(patient.call, 20)
        finally:
            node.ctl("set_vm_memory_high_watermark", "0.6")
        assert until(lambda: answer) == [6765]
    assert server.out.count(AWAITING) == 1


def test_a_callback_queue_that_is_deleted_during_an_alarm_does_not_stretch_a_call_beyond_twice(
    node, server
):
    with FibonacciRpcClient(node.url, timeout=1) as client:
        node.ctl("set_vm_memory_high_watermark", "0.00001")
        try:
            result = in_thread(timed_out_after, client)
            until(lambda: client.correlation_id)
            node.ctl("delete_queue", client.callback_queue)
            ((seconds, _),) = until(lambda: result)
            assert 1 <= seconds < 2.5
        finally:
            node.ctl("set_vm_memory_high_watermark", "0.6")


# Calls until the broker hangs, and ends without closing the client.
PROGRAM = """
import client
c = client.FibonacciRpcClient(timeout=2)
try:
    c.call(30)
except TimeoutError as error:
    print(error)
"""


def test_while_the_broker_hangs_no_client_waits_beyond_its_timeout_and_a_server_leaves_it(
    node, channel, run
):
    server = run("server.py", AMQP_URL=with_heartbeat(node.url, 1))
    server.says(AWAITING)
    with FibonacciRpcClient(node.url, timeout=1) as idle:
        assert idle.call(10) == 55
        server.process.send_signal(signal.SIGSTOP)  # so that the others wait
        waiting, program = run("client.py", "--timeout", "2"), run("-c", PROGRAM)
        waiting_request(channel)  # the other one is with the server
        with node.frozen():
            server.process.send_signal(signal.SIGCONT)
            connecting = run("client.py", "--timeout", "1")
            started = time.monotonic()
            seconds, words = timed_out_after(idle)
            assert 1 <= seconds < 1.3
            assert "is server.py running" in words
            assert connecting.exit_code(seconds=1) == 1
            assert connecting.err.count("\n") == 1
            assert waiting.exit_code(seconds=1.5) == 1
            assert waiting.err.startswith(" [!] No reply within 2 s: is server.py running")
            assert program.exit_code(seconds=1.5) == 0
            assert program.out.startswith("No reply within 2 s: is server.py running")
            assert time.monotonic() - started < 3
            until(lambda: "AMQPHeartbeatTimeout" in server.err)  # pika looks six seconds apart
        idle.timeout = 10
        assert idle.call(30) == 832040
    server.says(AWAITING, times=2)


def test_a_call_that_loses_its_connection_and_meets_a_silent_broker_keeps_its_timeout(
    node, channel
):
    channel.queue_declare("rpc_queue", durable=True)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, FibonacciRpcClient(node.url, timeout=3) as client:
        client.parameters.port = silent.getsockname()[1]
        result = in_thread(timed_out_after, client)
        waiting_request(channel)
        node.ctl("close_all_connections", "the operator says so")
        ((seconds, words),) = until(lambda: result)
    assert 3 <= seconds < 3.5
    assert "is RabbitMQ running" in words


def tls_url(node, host="127.0.0.1", **options):
    query = f"?ssl_options={quote(repr(options))}" if options else ""
    return f"amqps://guest:guest@{host}:{node.tls_port}/%2F{query}"


@pytest.mark.parametrize("by", ["url", "environment"])
def test_a_tls_broker_with_its_own_certificate_authority_works(node, channel, run, by):
    authority = str(node.authority)
    if by == "url":
        environment = {"AMQP_URL": tls_url(node, ca_certs=authority)}
    else:
        environment = {"AMQP_URL": tls_url(node), "SSL_CERT_FILE": authority}
    server = run("server.py", **environment)
    server.says(AWAITING)
    client = run("client.py", **environment)
    assert client.exit_code() == 0
    assert client.out.endswith(" [.] Got 832040\n")


@pytest.mark.parametrize("wrong", ["unknown authority", "another host's"])
def test_a_wrong_certificate_is_refused_in_one_line(node, run, wrong):
    if wrong == "unknown authority":
        url = tls_url(node)
    else:
        url = tls_url(node, host="127.0.0.2", ca_certs=str(node.authority))
    client, server = run("client.py", AMQP_URL=url), run("server.py", AMQP_URL=url)
    assert client.exit_code() == 1
    server.says_lines(1)
    for script in (client, server):
        assert script.err.startswith(" [!] ")
        assert "CERTIFICATE_VERIFY_FAILED" in script.err
        assert script.err.count("\n") == 1
