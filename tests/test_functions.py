"""What needs no broker: the functions of both scripts, and the client's checks of its arguments."""

from unittest.mock import Mock, call

import pika
import pytest

import server
from client import FibonacciRpcClient, RpcError, RpcRequester

# fib


@pytest.mark.parametrize(
    ("n", "value"),
    [(0, 0), (1, 1), (2, 1), (10, 55), (30, 832040), (100, 354224848179261915075)],
)
def test_fib_of_known_values(n, value):
    assert server.fib(n) == value


def test_the_largest_value_has_as_many_digits_as_the_comment_says():
    assert len(str(server.fib(20_000))) == 4180


# on_request


def replied(body):
    """Return type and body of the reply that on_request publishes before it acknowledges."""
    props = pika.BasicProperties(reply_to="callback", correlation_id="x")
    server.on_request(channel := Mock(), Mock(delivery_tag=7), props, body)
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


@pytest.mark.parametrize("body", [b"", b"3 0", b"3.0", b"\xff\n", b"3" * 5000, b"x" * 2**20])
def test_what_is_no_number_is_an_error_on_one_short_line(body):
    reply_type, reply = replied(body)
    assert reply_type == "error"
    assert reply.startswith(b"ValueError(")
    assert reply.decode().isprintable()
    assert len(reply) < 1000


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ({"side_effect": KeyError("n")}, b"KeyError('n')"),
        ({"side_effect": ArithmeticError("\udce9\n")}, b"ArithmeticError('\\udce9\\n')"),
        ({"return_value": "\udce9"}, b"UnicodeEncodeError('utf-8', "),
    ],
)
def test_a_failure_of_the_function_is_an_error_that_can_be_sent(monkeypatch, outcome, error):
    monkeypatch.setattr("server.fib", Mock(**outcome))
    reply_type, reply = replied(b"30")
    assert reply_type == "error"
    assert reply.startswith(error)


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


# What the kernel is told of a network that falls silent

SERVERS = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_USER_TIMEOUT": 6000}


def tcp_options(monkeypatch, platform, url, timeout=5):
    """Return the TCP options that pika is given by the server, and by a client."""
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("server.AMQP_URL", url)
    monkeypatch.setattr("server.signal", Mock())
    monkeypatch.setattr("server.log", Mock())
    monkeypatch.setattr("pika.BlockingConnection", connect := Mock(side_effect=SystemExit))
    for start in server.main, lambda: FibonacciRpcClient(url, timeout):
        with pytest.raises(SystemExit):
            start()
    return [parameters.tcp_options for (parameters,), _ in connect.call_args_list]


@pytest.mark.parametrize("own", [{}, {"TCP_USER_TIMEOUT": 7}])
def test_on_linux_tcp_options_are_set_where_the_url_sets_none(monkeypatch, own):
    given = tcp_options(monkeypatch, "linux", f"amqp://localhost?tcp_options={own}")
    assert given == [SERVERS | own, {"TCP_USER_TIMEOUT": 2500} | own]


def test_a_short_timeout_leaves_time_to_send_data_again(monkeypatch):
    given = tcp_options(monkeypatch, "linux", "amqp://localhost", timeout=1)
    assert given == [SERVERS, {"TCP_USER_TIMEOUT": 2000}]


def test_other_platforms_which_may_not_know_these_options_set_none(monkeypatch):
    assert tcp_options(monkeypatch, "darwin", "amqp://localhost") == [None, None]


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
