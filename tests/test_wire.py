"""What goes over the wire: requests, what the client makes of replies, replies, and rpc_queue."""

import signal
import uuid
from unittest.mock import Mock

import pika
import pytest

from client import FibonacciRpcClient
from harness import AWAITING, ask, take, until


def reply(channel, request, body):
    """Publish what the tutorial's server replies to a request with these properties."""
    props = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish("", request.reply_to, body, props)


# Requests


def test_a_request_is_n_in_ascii_with_three_properties(client, channel, idle_queue, in_thread):
    answer = in_thread(client.call, 30)
    method, props, body = take(channel, "rpc_queue")
    assert (method.exchange, method.routing_key, body) == ("", "rpc_queue", b"30")
    assert props == pika.BasicProperties(
        reply_to=client.rpc.callback_queue,
        correlation_id=str(uuid.UUID(props.correlation_id)),
        expiration=props.expiration,
    )
    reply(channel, props, b"832040")
    assert answer.result(60) == 832040


def test_the_default_timeout_is_5_seconds(broker, channel, idle_queue, run):
    run("client.py")
    assert 4_000 < int(take(channel, "rpc_queue")[1].expiration) <= 5_000
    with FibonacciRpcClient(broker.url) as client:
        assert client.timeout == 5


def test_a_returned_request_is_sent_again_with_what_is_left_of_the_timeout(
    client, channel, no_queue, in_thread
):
    returned = Mock()
    client.rpc.channel.add_on_return_callback(returned)
    answer = in_thread(client.call, 10)
    until(lambda: returned.call_count >= 3)
    channel.queue_declare("rpc_queue", durable=True)
    _, last, _ = take(channel, "rpc_queue")
    reply(channel, last, b"55")
    assert answer.result(60) == 55
    first, second, *_ = [call.args[2] for call in returned.call_args_list]
    assert first.correlation_id not in [last.correlation_id, second.correlation_id]
    assert first.reply_to == last.reply_to  # the connection is the same
    assert int(last.expiration) <= int(first.expiration) - 1000  # after a pause of a second


def test_the_end_of_the_with_block_closes_the_connection(broker, caplog):
    caplog.set_level("WARNING")
    with FibonacciRpcClient(broker.url) as client:
        assert client.rpc.can_receive()
    assert client.rpc.connection.is_closed
    client.close()  # a second time does no harm
    assert not caplog.records


# What the client makes of replies


def test_a_client_serves_many_calls_and_acknowledges_each_reply(node, client, server):
    assert [client.call(n) for n in (10, 20, 30, 0)] == [55, 6765, 832040, 0]
    assert f"{client.rpc.callback_queue}\t0" in node.ctl("list_queues", "name", "messages")


def test_a_client_whose_callback_queue_is_gone_makes_another(node, client, server):
    old = client.rpc
    node.ctl("delete_queue", old.callback_queue)
    assert client.call(10) == 55
    assert old.connection.is_closed


# Replies


@pytest.mark.parametrize(("request_body", "kind"), [(b"30", "result"), (b"abc", "error")])
def test_a_reply_has_two_properties(channel, server, request_body, kind):
    _, props, _ = ask(channel, request_body, headers={"x": 1}, delivery_mode=2, expiration="60000")
    assert props == pika.BasicProperties(correlation_id="the-request's-own", type=kind)


@pytest.mark.parametrize("correlation_id", [None, "", "x" * 255])
def test_the_correlation_id_comes_back_unchanged_even_when_absent(channel, server, correlation_id):
    _, props, body = ask(channel, b"10", correlation_id=correlation_id)
    assert (props.correlation_id, body) == (correlation_id, b"55")


def test_a_reply_to_that_leads_nowhere_costs_nothing(channel, server):
    for reply_to in (None, "", "nowhere", "x" * 255, b"\xff\xfe"):
        channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    assert ask(channel, b"10")[2] == b"55"
    assert server.out == f"{AWAITING}\n" + " [.] fib(30)\n" * 5 + " [.] fib(10)\n"


# rpc_queue


def test_the_server_declares_rpc_queue_as_durable(channel, server):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise


def test_a_server_takes_one_request_at_a_time(channel, idle_queue, start_server):
    frozen = start_server()
    frozen.process.send_signal(signal.SIGSTOP)
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    for n in (b"10", b"20", b"30"):
        channel.basic_publish("", "rpc_queue", n, pika.BasicProperties(reply_to=reply_to))
    start_server()
    assert [take(channel, reply_to)[2] for _ in range(2)] == [b"6765", b"832040"]
    frozen.process.send_signal(signal.SIGCONT)
    assert take(channel, reply_to)[2] == b"55"
