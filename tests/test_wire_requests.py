"""What the client puts on the wire, rpc_queue, and what the client makes of replies."""

import contextlib
import signal
import threading
import uuid

import pika
import pytest

from client import FibonacciRpcClient, RpcError
from harness import ask, given, take, until


def replying(body, **properties):
    """Return a function for raw_server that gives every request this reply."""

    def on_request(channel, _method, props, _body):
        reply_props = pika.BasicProperties(correlation_id=props.correlation_id, **properties)
        channel.basic_publish("", props.reply_to, body, reply_props)

    return on_request


# The request


def test_a_request_is_n_in_ascii_to_rpc_queue_by_the_default_exchange(client, raw_server):
    requests = raw_server(replying(b"832040"))
    assert client.call(30) == 832040
    method, _, body = requests[0]
    assert (method.exchange, method.routing_key, body) == ("", "rpc_queue", b"30")


def test_a_request_has_four_properties_and_each_call_a_new_uuid(client, raw_server):
    requests = raw_server(replying(b"1"))
    client.call(1)
    client.call(1)
    for _, props, _ in requests:
        assert given(props).keys() == {
            "correlation_id",
            "reply_to",
            "expiration",
            "content_type",
        }
        assert props.content_type == "text/plain"
        uuid.UUID(props.correlation_id)
    assert requests[0][1].correlation_id != requests[1][1].correlation_id
    assert requests[0][1].reply_to == requests[1][1].reply_to


def test_a_returned_request_is_sent_again_and_expires_at_the_same_time(broker, raw_server):
    class Client(FibonacciRpcClient):
        def on_return(self, *message):
            returned.append(message)
            requests.append(raw_server(replying(b"55")))
            super().on_return(*message)

    returned: list = []
    requests: list = []
    with Client(broker.url, timeout=50) as client:
        assert client.call(10) == 55
    ((*_, first, _),), (((_, second, _),),) = returned, requests
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


def test_a_reply_without_a_type_is_a_result(client, raw_server):
    raw_server(replying(b"55"))
    assert client.call(10) == 55


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
def test_of_several_replies_in_one_read_the_first_right_one_counts(client, raw_server, props):
    def on_request(channel, _method, request, _body):
        channel.basic_publish("", request.reply_to, b"666", pika.BasicProperties(**props))
        right = pika.BasicProperties(correlation_id=request.correlation_id)
        channel.basic_publish("", request.reply_to, b"55", right)
        channel.basic_publish("", request.reply_to, b"666", right)

    raw_server(on_request)
    assert [client.call(10) for _ in range(3)] == [55, 55, 55]


def test_a_late_reply_to_a_call_that_timed_out_is_not_the_next_ones(client, raw_server):
    def on_request(channel, _method, request, body):
        waiting.append((request, body))
        if len(waiting) == 2:
            for props, number in waiting:
                reply_props = pika.BasicProperties(correlation_id=props.correlation_id)
                channel.basic_publish("", props.reply_to, number, reply_props)

    waiting: list = []
    raw_server(on_request)
    client.timeout = 0.5
    with contextlib.suppress(TimeoutError):
        client.call(1)
    until(lambda: waiting)
    client.timeout = 60
    assert client.call(2) == 2


def test_a_late_return_of_an_earlier_request_does_not_count(client, raw_server):
    requests = raw_server(replying(b"55"))
    earlier = pika.BasicProperties(correlation_id=str(uuid.uuid4()))
    client.channel.basic_publish("", "no such queue", b"1", earlier, mandatory=True)
    assert client.call(10) == 55
    assert client.call(10) == 55
    assert len(requests) == 2


def test_a_stream_of_replies_to_nobody_does_not_keep_a_call_from_its_timeout(
    broker, client, idle_queue, in_thread
):
    over = threading.Event()

    def flood():
        with broker.connect() as connection:
            publisher = connection.channel()
            while not over.is_set():
                publisher.basic_publish("", client.callback_queue, b"666")

    flooding = in_thread(flood)
    try:
        client.timeout = 1
        with pytest.raises(TimeoutError):
            client.call(30)
    finally:
        over.set()
        flooding.result(60)
