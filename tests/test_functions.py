"""What needs no broker: the functions of both scripts, and the client's checks of its arguments."""

import json
import time
from unittest.mock import Mock, call

import pika
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client import FibonacciRpcClient, RpcConnection, RpcError, seconds_until
from harness import MALFORMED
from server import MAX_N, fib, on_request

# fib


@pytest.mark.parametrize(
    ("n", "value"),
    [(0, 0), (1, 1), (2, 1), (10, 55), (30, 832040), (100, 354224848179261915075)],
)
def test_fib_of_known_values(n, value):
    assert fib(n) == value


def test_fib_of_the_largest_n_has_as_many_digits_as_its_comment_says():
    assert MAX_N == 20_000
    assert len(str(fib(MAX_N))) == 4180
    assert fib(MAX_N) == fib(MAX_N - 1) + fib(MAX_N - 2)


# on_request


def reply_to(body):
    """Return the type and the body of the reply that on_request publishes, then acknowledges."""
    props = pika.BasicProperties(reply_to="callback", correlation_id="the-request's-own")
    on_request(channel := Mock(), Mock(delivery_tag=7), props, body)
    publish, ack = channel.mock_calls
    assert publish == call.basic_publish(
        exchange="",
        routing_key="callback",
        properties=pika.BasicProperties(
            correlation_id="the-request's-own", type=publish.kwargs["properties"].type
        ),
        body=publish.kwargs["body"],
    )
    assert ack == call.basic_ack(delivery_tag=7)
    return publish.kwargs["properties"].type, publish.kwargs["body"]


@pytest.fixture
def log(monkeypatch):
    """Takes the place of the server's log."""
    log = Mock()
    monkeypatch.setattr("server.log", log)
    return log


@pytest.mark.parametrize("body", [b"30", b"30\n", b"00030", b" 30 ", b"+30", b"3_0"])
def test_the_reply_to_what_int_takes_is_the_value(body, log):
    assert reply_to(body) == ("result", b"832040")
    assert log.mock_calls == [call.info(" [.] fib(%d)", 30)]


@pytest.mark.parametrize("n", [-1, MAX_N + 1, 10**4000])
def test_n_out_of_range_is_an_error_that_says_what_is_allowed(n):
    assert reply_to(str(n).encode()) == ("error", b"ValueError('n must be from 0 to 20000')")


@settings(deadline=None)
@given(st.binary(max_size=50) | st.from_regex(rb"[0-9]{0,6}", fullmatch=True))
@example(b"3" * 5000)
@example(b"x" * 2**20)
def test_every_body_has_a_reply_on_one_line_and_an_error_is_short(body):
    reply_type, encoded = reply_to(body)
    reply = encoded.decode()
    assert reply.isprintable()
    assert (reply_type == "result") == reply.isdigit()
    assert reply_type == "result" or (reply_type == "error" and len(reply) < 1000)


@pytest.mark.parametrize("words", ["out of numbers", "\udce9", "two\nlines"])
def test_a_failure_of_the_function_is_an_error_that_can_be_sent(monkeypatch, log, words):
    monkeypatch.setattr("server.fib", Mock(side_effect=ArithmeticError(words)))
    assert reply_to(b"30") == ("error", f"ArithmeticError({words!r})".encode())
    assert log.exception.call_args == call(" [!] Request failed: %r", b"30")


def test_a_value_that_cannot_be_sent_is_an_error(monkeypatch):
    monkeypatch.setattr("server.fib", Mock(return_value="\udce9"))
    reply_type, reply = reply_to(b"30")
    assert (reply_type, reply[:18]) == ("error", b"UnicodeEncodeError")


def test_json_that_lacks_a_key_is_an_error_too(monkeypatch):
    monkeypatch.setattr("server.int", lambda body: json.loads(body)["n"], raising=False)
    assert reply_to(b'{"n": 30}') == ("result", b"832040")
    assert reply_to(b"{}") == ("error", b"KeyError('n')")


# RpcConnection


def test_a_reply_or_a_return_counts_only_with_the_id_of_the_current_request():
    rpc = RpcConnection(Mock())
    rpc.correlation_id = "now"
    for correlation_id in ("earlier", "", None, b"\xff"):
        props = pika.BasicProperties(correlation_id=correlation_id)
        rpc.on_reply(None, None, props, b"666")
        rpc.on_return(None, None, props, b"30")
        assert rpc.reply is None
    rpc.on_reply(None, None, pika.BasicProperties(correlation_id="now"), b"55")
    assert rpc.reply == b"55"
    rpc.on_return(None, None, pika.BasicProperties(correlation_id="now"), b"30")
    assert isinstance(rpc.reply, ConnectionError)


@pytest.mark.parametrize(
    ("reply_type", "kind"), [(None, bytes), ("result", bytes), ("error", RpcError)]
)
def test_a_reply_of_any_type_but_error_is_a_result(reply_type, kind):
    rpc = RpcConnection(Mock())
    props = pika.BasicProperties(correlation_id=rpc.correlation_id, type=reply_type)
    rpc.on_reply(None, None, props, b"55\xff")
    assert isinstance(rpc.reply, kind)
    assert str(rpc.reply) in (str(b"55\xff"), "The server replied 55\N{REPLACEMENT CHARACTER}")


# seconds_until


def test_the_seconds_until_a_deadline_never_fall_to_zero():
    assert seconds_until(time.monotonic() - 1) == 0.001
    assert 50 < seconds_until(time.monotonic() + 100) <= 100


# The client's arguments


@pytest.mark.parametrize("timeout", [0, -1, 1e6, float("inf"), float("nan")])
def test_a_timeout_out_of_range_raises_value_error(timeout):
    with pytest.raises(ValueError, match="timeout must be more than 0 and less than 1,000,000"):
        FibonacciRpcClient(timeout=timeout)


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_raises_value_error_without_any_of_its_text(url):
    with pytest.raises(ValueError, match=r"Invalid URL \(\w+Error\); use amqp://") as caught:
        FibonacciRpcClient(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__
