"""client.py alone: each property of its requests, and what it makes of replies and of none."""

import contextlib
import re
import socket
import threading
import time
import uuid

import pika
import pytest

from client import FibonacciRpcClient, RpcError
from conftest import in_thread, until


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


def test_a_client_serves_many_calls_and_gets_each_answer_right(client, server):
    assert [client.call(n) for n in (10, 20, 30, 0)] == [55, 6765, 832040, 0]


def test_a_client_whose_channel_was_closed_connects_again(client, server):
    client.channel.close()
    assert client.call(30) == 832040


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


@pytest.mark.parametrize("body", [b"", b"5_5", b"-1", b" 55", "\u0665".encode(), b"\n\xff" * 999])
def test_a_reply_that_is_no_number_raises_in_one_line(client, raw_server, body):
    raw_server(replying(body, type="result"))
    with pytest.raises(RpcError) as caught:
        client.call(10)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_without_a_server_call_ends_at_its_timeout_and_says_that_no_queue_was_declared(
    broker, channel
):
    with FibonacciRpcClient(broker.url, timeout=0.7) as client:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0.7 s: rpc_queue does not exist"):
            client.call(30)
        assert 0.7 <= time.monotonic() - started < 1
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        channel.queue_declare("rpc_queue", passive=True)  # nor has the client declared it


def test_no_pause_before_a_further_try_goes_beyond_the_timeout(broker, channel):
    with FibonacciRpcClient(broker.url) as client:
        client.timeout = 0.01
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.call(30)
        assert time.monotonic() - started < 0.19


def test_with_a_queue_but_no_server_call_says_so_and_its_request_leaves_the_queue(broker, channel):
    channel.queue_declare("rpc_queue", durable=True)
    timed_out = pytest.raises(TimeoutError, match="is server\\.py running")
    with FibonacciRpcClient(broker.url, timeout=0.5) as client, timed_out:
        client.call(30)
    assert channel.basic_get("rpc_queue") == (None, None, None)


def test_the_timeout_names_the_reason_at_its_end_and_none_that_has_passed(broker, channel):
    with FibonacciRpcClient(broker.url, timeout=1) as client:
        outcome = in_thread(outcome_of, client)
        until(lambda: client.problem)
        channel.queue_declare("rpc_queue", durable=True)
        (error,) = until(lambda: outcome)
    assert str(error).startswith("No reply within 1 s: is server.py running")


def outcome_of(client):
    """Return what client.call(30) returns, or the exception that it raises."""
    try:
        return client.call(30)
    except Exception as error:
        return error


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
    assert returned[0][2].correlation_id == returned[1][2].correlation_id


def test_a_late_return_of_an_earlier_request_does_not_have_the_next_one_sent_twice(
    broker, client, raw_server
):
    requests = raw_server(replying(b"55"))
    earlier = pika.BasicProperties(correlation_id=str(uuid.uuid4()))
    client.channel.basic_publish("", "no such queue", b"1", earlier, mandatory=True)
    assert client.call(10) == 55
    assert client.call(10) == 55
    assert len(requests) == 2


def test_a_client_that_waits_leaves_the_cpu_alone(broker, channel):
    channel.queue_declare("rpc_queue", durable=True)
    with FibonacciRpcClient(broker.url, timeout=0.5) as client:
        before = time.thread_time()
        with pytest.raises(TimeoutError):
            client.call(30)
        assert time.thread_time() - before < 0.1


@pytest.fixture
def stray(client, channel):
    """Publishes a message to the client's callback queue."""

    def publish(body=b"666", **properties):
        channel.basic_publish("", client.callback_queue, body, pika.BasicProperties(**properties))

    return publish


STRAYS = {
    "another's": {"correlation_id": "another's"},
    "empty": {"correlation_id": ""},
    "none": {},
    "not UTF-8": {"correlation_id": b"\xff"},
    "an error": {"correlation_id": "another's", "type": "error"},
}


def test_replies_to_nobody_count_for_nothing_before_between_and_after_calls(
    client, raw_server, stray
):
    raw_server(replying(b"55"))
    for props in STRAYS.values():
        stray(**props)
        assert client.call(10) == 55
        stray(**props)
        stray(**props)
        assert client.call(10) == 55
        stray(**props)


@pytest.mark.parametrize("props", STRAYS.values(), ids=STRAYS.keys())
def test_of_several_replies_in_one_read_the_first_with_the_right_correlation_id_counts(
    client, raw_server, props
):
    def on_request(channel, _method, request, _body):
        channel.basic_publish("", request.reply_to, b"666", pika.BasicProperties(**props))
        right = pika.BasicProperties(correlation_id=request.correlation_id)
        channel.basic_publish("", request.reply_to, b"55", right)
        channel.basic_publish("", request.reply_to, b"666", right)

    raw_server(on_request)
    assert [client.call(10) for _ in range(3)] == [55, 55, 55]


def test_a_late_reply_to_a_call_that_timed_out_is_not_the_next_calls_answer(broker, raw_server):
    def on_request(channel, _method, request, body):
        waiting.append((request, body))
        if len(waiting) == 2:
            for props, number in waiting:
                reply_props = pika.BasicProperties(correlation_id=props.correlation_id)
                channel.basic_publish("", props.reply_to, number, reply_props)

    waiting = []
    raw_server(on_request)
    with FibonacciRpcClient(broker.url, timeout=0.5) as client:
        with contextlib.suppress(TimeoutError):
            client.call(1)
        client.timeout = 10
        assert client.call(2) == 2


def test_a_stream_of_replies_to_nobody_does_not_keep_a_call_from_its_timeout(broker, channel):
    channel.queue_declare("rpc_queue", durable=True)
    over = threading.Event()

    def flood(callback_queue):
        with broker.connect() as connection:
            publisher = connection.channel()
            while not over.is_set():
                publisher.basic_publish("", callback_queue, b"666")

    with FibonacciRpcClient(broker.url, timeout=1) as client:
        flooding = threading.Thread(target=flood, args=[client.callback_queue])
        flooding.start()
        try:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                client.call(30)
            assert time.monotonic() - started < 2
        finally:
            over.set()
            flooding.join()


def test_the_end_of_the_with_block_closes_the_connection(broker, channel):
    with FibonacciRpcClient(broker.url) as client:
        assert client.connection.is_open
    assert client.connection.is_closed
    client.close()  # a second time does no harm


@pytest.mark.parametrize("timeout", [0, -1, 1e6, float("inf"), float("nan")])
def test_a_timeout_that_is_no_positive_number_below_a_million_raises_value_error(timeout):
    with pytest.raises(ValueError, match="timeout must be more than 0 and less than 1,000,000"):
        FibonacciRpcClient(timeout=timeout)


def test_the_first_connection_lets_pikas_own_exception_through():
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        FibonacciRpcClient("amqp://guest:guest@127.0.0.1:1/%2F")


def test_a_refused_login_lets_pikas_own_exception_through(broker):
    url = re.sub(r":[^:/@]+@", ":wrong@", broker.url)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        FibonacciRpcClient(url)


# Ends when the client does: without threads, nothing else keeps a program from its end.
MEETS_SILENCE = """
import client, sys
try:
    client.FibonacciRpcClient(sys.argv[1], timeout=0.5)
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_a_broker_that_accepts_and_says_nothing_keeps_no_program_from_its_end(run, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = run("-c", MEETS_SILENCE, f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")
        assert program.exit_code(seconds=5) == 0
    assert (program.out, program.err) == ("AMQPConnectorStackTimeout\n", "")


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
        "amqp://user:secret@localhost:5672 amqp://user:secret@localhost:5672",
        "http2://user:secret@localhost",
        "secret",
    ],
)
def test_a_malformed_url_raises_value_error_without_any_of_its_text(url):
    with pytest.raises(ValueError, match="amqp://user:password@host:5672") as caught:
        FibonacciRpcClient(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__
