"""What the client puts on the wire, rpc_queue, and what the client makes of replies."""

import signal
import uuid

import pika
import pytest

from client import FibonacciRpcClient
from harness import take, until


def reply(channel, request, body):
    """Publish what the tutorial's server replies to a request with these properties."""
    props = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish("", request.reply_to, body, props)


# The request


def test_a_request_is_n_in_ascii_with_three_properties_and_each_call_a_new_uuid(
    client, channel, idle_queue, in_thread
):
    ids = set()
    for _ in range(2):
        answer = in_thread(client.call, 30)
        method, props, body = take(channel, "rpc_queue")
        assert (method.exchange, method.routing_key, body) == ("", "rpc_queue", b"30")
        assert 0 < int(props.expiration) <= 60_000
        assert props == pika.BasicProperties(
            reply_to=client.rpc.callback_queue,
            correlation_id=str(uuid.UUID(props.correlation_id)),
            expiration=props.expiration,
        )
        reply(channel, props, b"832040")
        assert answer.result(60) == 832040
        ids.add(props.correlation_id)
    assert len(ids) == 2


def test_a_returned_request_is_sent_again_on_the_same_connection_with_what_is_left_of_the_time(
    client, channel, no_queue, in_thread
):
    returned: list = []
    client.rpc.channel.add_on_return_callback(lambda *request: returned.append(request[2]))
    answer = in_thread(client.call, 10)
    until(lambda: len(returned) >= 3)
    channel.queue_declare("rpc_queue", durable=True)
    _, last, _ = take(channel, "rpc_queue")
    reply(channel, last, b"55")
    assert answer.result(60) == 55
    first = returned[0]
    assert first.correlation_id not in [last.correlation_id, returned[1].correlation_id]
    assert first.reply_to == last.reply_to
    assert int(last.expiration) <= int(first.expiration) - 100  # after the second pause, of 100 ms
    assert 10_000 < int(first.expiration) <= 60_000


def test_the_callback_queue_is_named_by_rabbitmq_and_closed_to_others(client, channel):
    assert client.rpc.callback_queue.startswith("amq.gen-")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="RESOURCE_LOCKED"):
        channel.queue_declare(client.rpc.callback_queue, passive=True)


# rpc_queue


def test_the_server_declares_rpc_queue_as_durable(channel, server):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="406"):
        channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})


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


def test_a_request_without_reply_to_is_logged_and_becomes_a_dead_letter(
    channel, no_queue, start_server
):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("rpc_queue", durable=True, arguments=arguments)
    channel.queue_declare("dead", exclusive=True)
    server = start_server()
    for reply_to in (None, ""):
        channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
        assert take(channel, "dead")[2] == b"30"
    server.says(" [!] Rejected a request without reply_to", times=2)


# What the client makes of replies


def test_a_client_serves_many_calls_and_acknowledges_each_reply(node, client, server):
    assert [client.call(n) for n in (10, 20, 30, 0)] == [55, 6765, 832040, 0]
    assert f"{client.rpc.callback_queue}\t0" in node.ctl("list_queues", "name", "messages")


def test_a_call_ignores_replies_to_earlier_calls_and_to_others(
    client, channel, idle_queue, in_thread
):
    first = in_thread(client.call, 1)
    _, earlier, _ = take(channel, "rpc_queue")
    reply(channel, earlier, b"1")
    assert first.result(60) == 1
    second = in_thread(client.call, 10)
    _, request, _ = take(channel, "rpc_queue")
    for odd in (earlier.correlation_id, "another's", "", None, b"\xff"):
        reply(channel, pika.BasicProperties(reply_to=request.reply_to, correlation_id=odd), b"666")
    reply(channel, request, b"55")
    assert second.result(60) == 55


def test_the_first_reply_counts_and_no_return_of_an_earlier_request(client):
    rpc = client.rpc
    rpc.correlation_id = "now"
    for body in (b"55", b"666"):
        rpc.on_reply(None, None, pika.BasicProperties(correlation_id="now"), body)
    rpc.on_return(None, None, pika.BasicProperties(correlation_id="earlier"), b"1")
    assert (rpc.reply, rpc.returned) == ((None, b"55"), False)


def test_the_end_of_the_with_block_closes_the_connection(broker):
    with FibonacciRpcClient(broker.url) as client:
        assert client.rpc.connection.is_open
    assert client.rpc.connection.is_closed
    client.close()  # a second time does no harm
