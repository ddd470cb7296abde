"""What the client puts on the wire, rpc_queue, and what the client makes of replies."""

import signal
import uuid

import pika
import pytest

from client import FibonacciRpcClient, RpcError
from harness import ask, given, take, until


def reply(channel, request, body):
    """Publish what the tutorial's server replies to a request with these properties."""
    props = pika.BasicProperties(correlation_id=request.correlation_id)
    channel.basic_publish("", request.reply_to, body, props)


# The request


def test_a_request_is_n_in_ascii_with_four_properties_and_each_call_a_new_uuid(
    client, channel, idle_queue, in_thread
):
    ids = set()
    for _ in range(2):
        answer = in_thread(client.call, 30)
        method, props, body = take(channel, "rpc_queue")
        assert (method.exchange, method.routing_key, body) == ("", "rpc_queue", b"30")
        assert 0 < int(props.expiration) <= 60_000
        assert given(props) == {
            "reply_to": client.callback_queue,
            "correlation_id": str(uuid.UUID(props.correlation_id)),
            "content_type": "text/plain",
            "expiration": props.expiration,
        }
        reply(channel, props, b"832040")
        assert answer.result(60) == 832040
        ids.add(props.correlation_id)
    assert len(ids) == 2


def test_a_returned_request_is_sent_again_and_expires_at_the_same_time(
    broker, channel, no_queue, in_thread
):
    class Client(FibonacciRpcClient):
        def on_return(self, channel, method, props, body):
            super().on_return(channel, method, props, body)
            returned.append(props)

    returned: list = []
    with Client(broker.url, timeout=50) as client:
        answer = in_thread(client.call, 10)
        until(lambda: returned)
        channel.queue_declare("rpc_queue", durable=True)
        _, second, _ = take(channel, "rpc_queue")
        reply(channel, second, b"55")
        assert answer.result(60) == 55
    first = returned[0]
    assert first.correlation_id == second.correlation_id
    assert int(second.expiration) <= int(first.expiration) - 100  # the pause takes 100 ms
    assert 10_000 < int(first.expiration) <= 50_000


def test_the_callback_queue_is_named_by_rabbitmq_and_closed_to_others(client, channel):
    assert client.callback_queue.startswith("amq.gen-")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="RESOURCE_LOCKED"):
        channel.queue_declare(client.callback_queue, passive=True)


# rpc_queue


def test_the_server_declares_rpc_queue_as_durable(channel, server):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise


def test_the_client_declares_no_rpc_queue(broker, no_queue):
    with FibonacciRpcClient(broker.url, timeout=0.1) as client, pytest.raises(TimeoutError):
        client.call(30)
    assert broker.queue() is None


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


def test_a_request_is_acknowledged_once_it_is_answered(broker, channel, server):
    ask(channel, b"30")
    ask(channel, b"abc")
    server.stop()
    until(lambda: broker.queue().consumer_count == 0)
    assert broker.queue().message_count == 0


def test_a_rejected_request_goes_to_the_dead_letter_queue(channel, no_queue, start_server):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("rpc_queue", durable=True, arguments=arguments)
    channel.queue_declare("dead", exclusive=True)
    start_server()
    for reply_to in (None, ""):
        channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
        assert take(channel, "dead")[2] == b"30"


# What the client makes of replies


def test_a_client_serves_many_calls_and_gets_each_answer_right(client, server):
    assert [client.call(n) for n in (10, 20, 30, 0)] == [55, 6765, 832040, 0]


def test_an_error_reply_raises_rpc_error_and_the_next_call_works(client, server):
    with pytest.raises(RpcError, match="n must be from 0 to 20000"):
        client.call(-1)
    assert client.call(30) == 832040


STRAYS: dict[str, dict] = {
    "another's": {"correlation_id": "another's"},
    "empty": {"correlation_id": ""},
    "none": {},
    "not UTF-8": {"correlation_id": b"\xff"},
    "an error": {"correlation_id": "another's", "type": "error"},
}


@pytest.mark.parametrize("props", STRAYS.values(), ids=STRAYS.keys())
def test_of_several_replies_in_one_read_the_first_right_one_counts(
    client, channel, idle_queue, in_thread, props
):
    for _ in range(3):
        answer = in_thread(client.call, 10)
        _, request, _ = take(channel, "rpc_queue")
        channel.basic_publish("", request.reply_to, b"666", pika.BasicProperties(**props))
        reply(channel, request, b"55")
        reply(channel, request, b"666")
        assert answer.result(60) == 55


def test_a_late_reply_to_a_call_that_timed_out_is_not_the_next_ones(
    client, channel, idle_queue, in_thread
):
    client.timeout = 1
    impatient = in_thread(client.call, 1)
    _, first, _ = take(channel, "rpc_queue")
    assert isinstance(impatient.exception(60), TimeoutError)
    client.timeout = 60
    answer = in_thread(client.call, 2)
    _, second, _ = take(channel, "rpc_queue")
    reply(channel, first, b"1")
    reply(channel, second, b"2")
    assert answer.result(60) == 2


def test_a_late_return_of_an_earlier_request_does_not_count(
    broker, client, channel, idle_queue, in_thread
):
    earlier = pika.BasicProperties(correlation_id=str(uuid.uuid4()))
    client.channel.basic_publish("", "no such queue", b"1", earlier, mandatory=True)
    answer = in_thread(client.call, 10)
    _, request, _ = take(channel, "rpc_queue")
    with pytest.raises(TimeoutError):  # a second request would come after a pause of 0.1 s
        answer.result(0.5)
    reply(channel, request, b"55")
    assert answer.result(60) == 55
    assert broker.queue().message_count == 0


def test_a_stream_of_replies_to_nobody_does_not_keep_a_call_from_its_timeout(broker, idle_queue):
    class Client(FibonacciRpcClient):
        def on_response(self, channel, *reply):
            super().on_response(channel, *reply)
            channel.basic_publish("", self.callback_queue, b"666")

    with Client(broker.url, timeout=0.5) as client:
        client.channel.basic_publish("", client.callback_queue, b"666")
        with pytest.raises(TimeoutError):
            client.call(30)


def test_the_end_of_the_with_block_closes_the_connection(broker):
    with FibonacciRpcClient(broker.url) as client:
        assert client.connection.is_open
    assert client.connection.is_closed
    client.close()  # a second time does no harm
