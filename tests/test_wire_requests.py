"""What the client puts on the wire, and what it makes of the replies that arrive."""

import uuid
from unittest.mock import Mock

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


def test_the_default_timeout_is_5_seconds(broker, channel, idle_queue, run):
    run("client.py")
    assert 4_000 < int(take(channel, "rpc_queue")[1].expiration) <= 5_000
    with FibonacciRpcClient(broker.url) as client:
        assert client.timeout == 5


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
    assert int(last.expiration) <= int(first.expiration) - 1000  # after a pause of a second
    assert 10_000 < int(first.expiration) <= 60_000


def test_the_callback_queue_is_named_by_rabbitmq_and_closed_to_others(client, channel):
    assert client.rpc.callback_queue.startswith("amq.gen-")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="RESOURCE_LOCKED"):
        channel.queue_declare(client.rpc.callback_queue, passive=True)


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


def test_a_reply_that_is_no_number_raises_value_error(client, channel, idle_queue, in_thread):
    answer = in_thread(client.call, 30)
    reply(channel, take(channel, "rpc_queue")[1], b"many")
    with pytest.raises(ValueError, match="'many'"):
        answer.result(60)


def test_a_reply_counts_though_the_callback_queue_is_deleted_in_the_same_read(
    node, client, channel, idle_queue, monkeypatch
):
    def wait(**limit):
        _, request, _ = take(channel, "rpc_queue")
        reply(channel, request, b"832040")
        node.ctl("delete_queue", request.reply_to)
        read(**limit)

    read = client.connection.process_data_events
    monkeypatch.setattr(client.connection, "process_data_events", Mock(side_effect=wait))
    assert client.call(30) == 832040
    assert not client.rpc.is_usable()
    assert node.queue().message_count == 0  # the request was not sent again


def test_the_end_of_the_with_block_closes_the_connection(broker):
    with FibonacciRpcClient(broker.url) as client:
        assert client.rpc.connection.is_open
    assert client.rpc.connection.is_closed
    client.close()  # a second time does no harm
