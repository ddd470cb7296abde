"""A broker that restarts, hangs, runs out of memory, or drops what it should keep."""

import signal
import socket
import time
from urllib.parse import quote

import pika
import pytest

from client import FibonacciRpcClient
from conftest import in_thread, until


def with_heartbeat(url, seconds):
    return f"{url.split()[0]}?heartbeat={seconds}"


@pytest.fixture
def alarm(node):
    """Raises RabbitMQ's memory alarm, or with False ends it, as it ends after the test."""

    def set_alarm(on):
        node.ctl("set_vm_memory_high_watermark", "0.00001" if on else "0.6")

    yield set_alarm
    set_alarm(False)


def test_a_restart_of_the_broker_costs_no_server_no_idle_client_and_no_call_that_waits(
    node, client, server
):
    assert client.call(10) == 55
    server.process.send_signal(signal.SIGSTOP)  # so that a call waits
    with FibonacciRpcClient(node.url, timeout=40) as waiting:
        answer = in_thread(waiting.call, 30)
        until(lambda: "1" in node.ctl("-q", "list_queues", "messages_unacknowledged").split())
        node.stop()
        node.start()
        server.process.send_signal(signal.SIGCONT)
        assert until(lambda: answer) == [832040]
    assert client.call(20) == 6765
    assert server.out.count(" [x] Awaiting RPC requests\n") == 2


def test_a_broker_that_stops_for_good_leaves_no_client_waiting(node, channel, run):
    channel.queue_declare("rpc_queue", durable=True)
    waiting = run("client.py", "--timeout", "3")
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    node.stop()
    assert waiting.exit_code(seconds=4) == 1
    assert waiting.err.startswith(" [!] No reply within 3 s: no connection")
    assert waiting.err.count("\n") == 1


def test_connections_that_the_operator_closed_are_made_again(node, client, server):
    assert client.call(10) == 55
    node.ctl("close_all_connections", "the operator says so")
    server.says(" [x] Awaiting RPC requests", times=2)
    assert server.err.count("\n") == 1
    assert client.call(30) == 832040


def test_a_call_that_waits_while_the_operator_closes_all_connections_is_answered(
    node, client, channel, start_server
):
    channel.queue_declare("rpc_queue", durable=True)
    answer = in_thread(client.call, 30)
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    node.ctl("close_all_connections", "the operator says so")
    start_server()
    assert until(lambda: answer) == [832040]


def test_a_deleted_rpc_queue_is_declared_again(channel, client, server):
    channel.queue_delete("rpc_queue")
    server.says(" [x] Awaiting RPC requests", times=2)
    assert server.err.splitlines() == [
        " [!] ConsumerCancelled: Server cancelled consumer; connecting again in a second"
    ]
    assert client.call(30) == 832040


def test_a_call_outlives_an_rpc_queue_that_is_deleted_before_it(channel, client, server):
    channel.queue_delete("rpc_queue")
    assert client.call(30) == 832040


def test_a_callback_queue_that_was_deleted_under_an_idle_client_is_made_again(node, client, server):
    assert client.call(10) == 55
    deleted = client.callback_queue
    node.ctl("delete_queue", deleted)
    assert client.call(30) == 832040
    assert client.callback_queue != deleted


def test_a_callback_queue_that_is_deleted_during_a_call_is_made_again(
    node, client, channel, start_server
):
    channel.queue_declare("rpc_queue", durable=True)
    answer = in_thread(client.call, 30)
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    node.ctl("delete_queue", client.callback_queue)
    start_server()
    assert until(lambda: answer) == [832040]


def test_an_idle_client_whose_heartbeats_ran_out_connects_again_for_its_next_call(
    broker, channel, server
):
    with FibonacciRpcClient(with_heartbeat(broker.url, 1)) as client:
        assert client.call(10) == 55
        dropped = client.callback_queue
        until(lambda: not queue_exists(broker, dropped))
        assert client.call(30) == 832040
        assert client.callback_queue != dropped


def queue_exists(broker, queue):
    """Return whether a queue exists, closed to us or not."""
    with broker.connect() as connection:
        try:
            connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            return error.reply_code != 404
        return True


def test_a_waiting_client_sends_heartbeats(broker, channel, start_server):
    channel.queue_declare("rpc_queue", durable=True)
    with FibonacciRpcClient(with_heartbeat(broker.url, 1)) as client:
        callback_queue = client.callback_queue
        answer = in_thread(client.call, 30)
        time.sleep(4)  # the broker drops a connection after two silent seconds
        start_server()
        assert until(lambda: answer) == [832040]
        assert client.callback_queue == callback_queue


def test_a_memory_alarm_ends_a_call_at_its_timeout_and_close_returns(node, alarm, broker, server):
    alarm(True)
    client = FibonacciRpcClient(broker.url, timeout=1)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        client.call(30)
    assert 1 <= time.monotonic() - started < 1.5
    client.close()
    assert time.monotonic() - started < 3
    until(lambda: client.connection.is_closed)  # by itself, while the alarm goes on


def test_a_callback_queue_that_is_deleted_during_an_alarm_does_not_stretch_a_call(
    node, alarm, server
):
    with FibonacciRpcClient(node.url, timeout=30) as client:
        alarm(True)
        client.timeout = 0.5
        with pytest.raises(TimeoutError):
            client.call(10)
        node.ctl("delete_queue", client.callback_queue)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.call(20)
        assert 0.5 <= time.monotonic() - started < 1


def test_a_memory_alarm_does_not_keep_a_program_that_uses_the_client_from_its_end(
    node, alarm, server, run
):
    alarm(True)
    program = run("-c", "import client\nwith client.FibonacciRpcClient(timeout=1) as c: c.call(30)")
    assert program.exit_code(seconds=4) == 1
    assert program.err.splitlines()[-1].startswith("TimeoutError: No reply within 1 s")


def test_both_go_on_once_a_memory_alarm_is_over(node, alarm, broker, server, run):
    with FibonacciRpcClient(broker.url, timeout=1) as client:
        assert client.call(10) == 55
        alarm(True)
        with pytest.raises(TimeoutError):
            client.call(20)
        alone = run("client.py", "--timeout", "1")
        assert alone.exit_code(seconds=3) == 1
        assert alone.err.count("\n") == 1
        alarm(False)
        client.timeout = 10
        assert client.call(30) == 832040
    assert server.out.count("Awaiting") == 1


def test_a_frozen_broker_ends_a_waiting_client_at_its_timeout(node, channel, run):
    channel.queue_declare("rpc_queue", durable=True)
    waiting = run("client.py", "--timeout", "2")
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    with node.frozen():
        assert waiting.exit_code(seconds=3) == 1
    assert waiting.err.startswith(" [!] No reply within 2 s")


def test_a_frozen_broker_ends_a_connecting_client_at_its_timeout(node, run):
    with node.frozen():
        started = time.monotonic()
        connecting = run("client.py", "--timeout", "1")
        assert connecting.exit_code() == 1
        assert 1 <= time.monotonic() - started < 2
    assert connecting.err.count("\n") == 1


def test_a_slow_reconnection_does_not_stretch_a_call_beyond_its_timeout(node, channel):
    channel.queue_declare("rpc_queue", durable=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]} {node.url}"
        with FibonacciRpcClient(url, timeout=2) as client:
            node.ctl("delete_queue", client.callback_queue)
            started = time.monotonic()
            with pytest.raises(TimeoutError, match="rpc_queue exists"):
                client.call(30)
            assert 2 <= time.monotonic() - started < 2.5


def test_both_go_on_once_a_frozen_broker_thaws(node, broker, server):
    with FibonacciRpcClient(broker.url, timeout=1) as client:
        assert client.call(10) == 55
        with node.frozen(), pytest.raises(TimeoutError):
            client.call(20)
        client.timeout = 10
        assert client.call(30) == 832040


def test_a_server_leaves_a_broker_that_hangs_once_heartbeats_are_missed(node, channel, run):
    server = run("server.py", AMQP_URL=with_heartbeat(node.url, 1))
    server.says(" [x] Awaiting RPC requests")
    with node.frozen():
        until(lambda: "AMQPHeartbeatTimeout" in server.err)  # pika looks six seconds apart
    server.says(" [x] Awaiting RPC requests", times=2)


def test_close_gives_a_frozen_broker_up_after_a_second(node, broker, server):
    client = FibonacciRpcClient(broker.url, timeout=1)
    with node.frozen():
        started = time.monotonic()
        client.close()
    assert 1 <= time.monotonic() - started < 1.5


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
    server.says(" [x] Awaiting RPC requests")
    client = run("client.py", **environment)
    assert client.exit_code() == 0
    assert client.out.endswith(" [.] Got 832040\n")


@pytest.mark.parametrize("script", ["client.py", "server.py"])
@pytest.mark.parametrize("wrong", ["unknown authority", "another host's"])
def test_a_wrong_certificate_is_refused_in_one_line(node, run, script, wrong):
    if wrong == "unknown authority":
        url = tls_url(node)
    else:
        url = tls_url(node, host="127.0.0.2", ca_certs=str(node.authority))
    refused = run(script, AMQP_URL=url)
    assert refused.exit_code() == 1
    assert refused.err.startswith(" [!] ")
    assert "CERTIFICATE_VERIFY_FAILED" in refused.err
    assert refused.err.count("\n") == 1
