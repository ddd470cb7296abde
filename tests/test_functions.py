"""What needs no broker: the functions of both scripts, and the client's checks of its arguments."""

import ast
import json
from unittest.mock import Mock, call

import pika
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client import FibonacciRpcClient, RpcError, RpcRequester
from server import fib, on_request

# fib


@pytest.mark.parametrize(
    ("n", "value"),
    [(0, 0), (1, 1), (2, 1), (10, 55), (30, 832040), (100, 354224848179261915075)],
)
def test_fib_of_known_values(n, value):
    assert fib(n) == value


def test_the_largest_value_has_as_many_digits_as_the_comment_says():
    assert len(str(fib(20_000))) == 4180


# on_request


def replied(body):
    """Return type and body of the reply that on_request publishes before it acknowledges."""
    props = pika.BasicProperties(reply_to="callback", correlation_id="x")
    on_request(channel := Mock(), Mock(delivery_tag=7), props, body)
    publish, ack = channel.mock_calls
    assert publish.kwargs["routing_key"] == "callback"
    assert ack == call.basic_ack(delivery_tag=7)
    return publish.kwargs["properties"].type, publish.kwargs["body"]


@pytest.mark.parametrize("body", [b"30", b"30\n", b"00030", b" 30 ", b"+30", b"3_0"])
def test_the_reply_to_what_int_takes_is_the_value(body):
    assert replied(body) == ("result", b"832040")


@pytest.mark.parametrize("n", [-1, 20_001, 10**4000])
def test_n_out_of_range_is_an_error_that_says_what_is_allowed(n):
    assert replied(str(n).encode()) == ("error", b"ValueError('n must be from 0 to 20000')")


@settings(deadline=None)
@given(st.binary(max_size=50) | st.from_regex(rb"[0-9]{0,6}", fullmatch=True))
@example(b"3" * 5000)
@example(b"x" * 2**20)
def test_every_body_has_a_reply_on_one_line_and_an_error_is_short(body):
    reply_type, encoded = replied(body)
    reply = encoded.decode()
    assert reply.isprintable()
    assert (reply_type == "result") == reply.isdigit()
    assert reply_type == "result" or (reply_type == "error" and len(reply) < 1000)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ({"side_effect": ArithmeticError("\udce9\n")}, b"ArithmeticError('\\udce9\\n')"),
        ({"return_value": "\udce9"}, b"UnicodeEncodeError('utf-8', "),
    ],
)
def test_a_failure_of_the_function_is_an_error_that_can_be_sent(monkeypatch, outcome, error):
    monkeypatch.setattr("server.fib", Mock(**outcome))
    reply_type, reply = replied(b"30")
    assert reply_type == "error"
    assert reply.startswith(error)


def test_json_that_lacks_a_key_is_an_error_too(monkeypatch):
    monkeypatch.setattr("server.int", lambda body: json.loads(body)["n"], raising=False)
    assert replied(b'{"n": 30}') == ("result", b"832040")
    assert replied(b"{}") == ("error", b"KeyError('n')")


# RpcRequester


@pytest.mark.parametrize("correlation_id", ["earlier", "", None, b"\xff"])
def test_a_reply_or_a_return_counts_only_with_the_current_id(correlation_id):
    rpc = RpcRequester(Mock())
    rpc.correlation_id = "now"
    props = pika.BasicProperties(correlation_id=correlation_id)
    rpc.on_reply(None, None, props, b"666")
    rpc.on_return(None, None, props, b"30")
    assert rpc.outcome is None


@pytest.mark.parametrize(("reply_type", "kind"), [(None, bytes), ("x", bytes), ("error", RpcError)])
def test_a_reply_of_any_type_but_error_is_a_result(reply_type, kind):
    rpc = RpcRequester(Mock())
    props = pika.BasicProperties(correlation_id=rpc.correlation_id, type=reply_type)
    rpc.on_reply(None, None, props, b"55\xff")
    assert isinstance(rpc.outcome, kind)


# What the kernel is told of a silent network

KEEPALIVE = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1}
START = {
    "server": "server.main()",
    "impatient": "client.FibonacciRpcClient(timeout=1)",
    "client": "client.FibonacciRpcClient(timeout=5)",
}


@pytest.mark.parametrize(
    ("start", "platform", "query", "options"),
    [
        ("server", "linux", "", KEEPALIVE | {"TCP_USER_TIMEOUT": 6000}),
        ("client", "linux", "", {"TCP_USER_TIMEOUT": 2500}),
        ("impatient", "linux", "", {"TCP_USER_TIMEOUT": 2000}),
        (
            "server",
            "linux",
            "?tcp_options={'TCP_USER_TIMEOUT':7}",
            KEEPALIVE | {"TCP_USER_TIMEOUT": 7},
        ),
        ("client", "linux", "?tcp_options={'TCP_USER_TIMEOUT':7}", {"TCP_USER_TIMEOUT": 7}),
        ("server", "darwin", "", None),
        ("client", "win32", "", None),
    ],
)
def test_pika_is_given_options_for_linux_below_those_of_the_url(
    run_alone, start, platform, query, options
):
    printing = "lambda parameters: sys.exit(repr(parameters.tcp_options))"
    code = f"import sys, pika, client, server; pika.BlockingConnection = {printing}\n"
    code += f"sys.platform = {platform!r}; {START[start]}"
    script = run_alone("-c", code, AMQP_URL=f"amqp://localhost{query}")
    assert script.exit_code() == 1
    assert ast.literal_eval(script.err) == options


# The client's arguments


@pytest.mark.parametrize("timeout", [0, -1, 1e6, float("inf"), float("nan")])
def test_a_timeout_out_of_range_raises_value_error(timeout):
    with pytest.raises(ValueError, match="timeout must be more than 0 and less than 1,000,000"):
        FibonacciRpcClient(timeout=timeout)


def test_a_malformed_url_raises_value_error_that_holds_none_of_its_text():
    with pytest.raises(ValueError, match=r"Invalid URL \(ValueError\)") as caught:
        FibonacciRpcClient("amqp://user:secret#@localhost")
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__
