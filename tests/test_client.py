"""client.py alone: each property of its requests, and what it makes of replies and of none."""

import re
import time
import uuid

import pika
import pytest

from client import FibonacciRpcClient, RpcError


def replying(body, **properties):
    """Return a function for raw_server that gives every request this reply."""

    def on_request(channel, _method, props, _body):
        reply_props = pika.BasicProperties(correlation_id=props.correlation_id, **properties)
        channel.basic_publish("", props.reply_to, body, reply_props)

    return on_request


def test_the_request_is_n_in_ascii_digits_sent_to_rpc_queue_by_the_default_exchange(
    client, raw_server
):
    requests = raw_server(replying(b"832040"))
    assert client.call(30) == 832040
    method, _, body = requests[0]
    assert (method.exchange, method.routing_key, body) == ("", "rpc_queue", b"30")


def test_each_request_has_a_new_uuid_a_reply_to_an_expiration_a_content_type_and_no_more(
    client, raw_server
):
    requests = raw_server(replying(b"1"))
    client.call(1)
    client.call(1)
    for _, props, _ in requests:
        given = {name for name, value in vars(props).items() if value is not None}
        assert given == {"correlation_id", "reply_to", "expiration", "content_type"}
        assert props.content_type == "text/plain"
        uuid.UUID(props.correlation_id)
    assert requests[0][1].correlation_id != requests[1][1].correlation_id
    assert requests[0][1].reply_to == requests[1][1].reply_to


def test_the_expiration_is_what_is_left_of_the_timeout_in_milliseconds(broker, raw_server):
    requests = raw_server(replying(b"1"))
    with FibonacciRpcClient(broker.url, timeout=7.5) as client:
        client.call(1)
    assert 7000 < int(requests[0][1].expiration) <= 7500


def test_the_callback_queue_is_named_by_rabbitmq_and_closed_to_others(client, raw_server, broker):
    requests = raw_server(replying(b"1"))
    client.call(1)
    callback_queue = requests[0][1].reply_to
    assert callback_queue.startswith("amq.gen-")
    with broker.connect() as connection:
        stranger = connection.channel()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="RESOURCE_LOCKED"):
            stranger.queue_declare(callback_queue, passive=True)


def test_a_reply_without_a_type_is_a_result(client, raw_server):
    raw_server(replying(b"55"))
    assert client.call(10) == 55


def test_an_error_reply_raises_its_words(client, raw_server):
    raw_server(replying(b"the server is out of numbers", type="error"))
    with pytest.raises(RpcError, match="the server is out of numbers"):
        client.call(10)


def test_an_error_reply_raises_even_when_its_words_are_a_number(client, raw_server):
    raw_server(replying(b"55", type="error"))
    with pytest.raises(RpcError, match="55"):
        client.call(10)


@pytest.mark.parametrize(
    "body", [b"", b"5_5", b"-1", b" 55", "\u0665".encode(), b"9" * 4301, b"\xff\n"]
)
def test_a_reply_that_is_no_number_raises_in_one_line(client, raw_server, body):
    raw_server(replying(body, type="result"))
    with pytest.raises(RpcError) as caught:
        client.call(10)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_without_a_server_call_ends_at_its_timeout_and_says_that_no_queue_was_declared(
    broker, channel
):
    with FibonacciRpcClient(broker.url, timeout=1) as client:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="within 1 s: no server has declared rpc_queue"):
            client.call(30)
        assert 1 <= time.monotonic() - started < 1.5


def test_the_client_declares_no_rpc_queue(broker, channel):
    with FibonacciRpcClient(broker.url, timeout=0.5) as client, pytest.raises(TimeoutError):
        client.call(30)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare("rpc_queue", passive=True)


def test_with_a_queue_but_no_server_the_timeout_says_that_the_queue_exists(broker, channel):
    channel.queue_declare("rpc_queue", durable=True)
    timed_out = pytest.raises(TimeoutError, match="rpc_queue exists")
    with FibonacciRpcClient(broker.url, timeout=0.5) as client, timed_out:
        client.call(30)


def test_a_request_that_nobody_awaits_any_more_leaves_the_queue(broker, channel):
    channel.queue_declare("rpc_queue", durable=True)
    with FibonacciRpcClient(broker.url, timeout=0.5) as client, pytest.raises(TimeoutError):
        client.call(30)
    assert channel.basic_get("rpc_queue") == (None, None, None)


def test_a_request_that_was_returned_as_unroutable_is_sent_again(broker, raw_server):
    class Client(FibonacciRpcClient):
        def on_return(self, *message):
            returned.append(message)
            if len(returned) == 2:
                raw_server(replying(b"832040"))
            super().on_return(*message)

    returned = []
    with Client(broker.url) as client:
        assert client.call(30) == 832040
    assert len(returned) == 2


def test_a_client_serves_many_calls(client, server):
    assert [client.call(n) for n in (10, 20, 30)] == [55, 6765, 832040]


def test_the_end_of_the_with_block_closes_the_connection(broker, channel):
    with FibonacciRpcClient(broker.url) as client:
        assert client.connection.is_open
    assert client.connection.is_closed
    client.close()  # a second time does no harm


def test_the_first_connection_lets_pikas_own_exception_through():
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        FibonacciRpcClient("amqp://guest:guest@127.0.0.1:1/%2F")


def test_a_refused_login_lets_pikas_own_exception_through(broker):
    url = re.sub(r":[^:/@]+@", ":wrong@", broker.url.split()[0])
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        FibonacciRpcClient(url)


def test_several_urls_are_tried_in_order_whatever_is_wrong_with_the_first_ones(broker, server):
    dead = "amqp://guest:guest@127.0.0.1:1/%2F amqp://guest:guest@no-such-host.invalid/%2F"
    with FibonacciRpcClient(f"{dead}\n{broker.url}") as client:
        assert client.call(30) == 832040


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:secret#@localhost",
        "amqp://user:sec/ret@localhost",
        "amqp://secret@localhost",
        "amqp://user:secret@localhost:99999",
        "amqp://user:secret@localhost?nonsense=1",
        "amqp://user:secret@localhost?heartbeat=secret",
        "amqp://user:secret@localhost?ssl_options={",
        "http2://user:secret@localhost",
        "secret",
    ],
)
def test_a_malformed_url_raises_value_error_without_any_of_its_text(url):
    with pytest.raises(ValueError, match="amqp://user:password@host:5672") as caught:
        FibonacciRpcClient(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__
