"""What needs no broker: the functions of both scripts, and the client's checks of its arguments."""

import time
from unittest.mock import Mock, call

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client import FibonacciRpcClient, RpcError, parse_reply, seconds_until
from harness import MALFORMED
from server import MAX_N, fib, make_reply

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


# make_reply


@pytest.fixture
def log(monkeypatch):
    """Takes the place of the server's log."""
    log = Mock()
    monkeypatch.setattr("server.log", log)
    return log


@pytest.mark.parametrize("request_body", [b"30", b"30\n", b"00030", b" 30 ", b"+30", b"3_0"])
def test_the_reply_to_what_int_takes_is_the_value(request_body, log):
    assert make_reply(request_body) == ("result", b"832040")
    assert log.mock_calls == [call.info(" [.] fib(%d)", 30)]


@pytest.mark.parametrize("n", [-1, MAX_N + 1, 10**4000])
def test_n_out_of_range_is_an_error_that_says_what_is_allowed(n, log):
    assert make_reply(str(n).encode()) == ("error", b"n must be from 0 to 20000")
    assert [name for name, _, _ in log.mock_calls] == ["warning"]  # one line, no traceback


@settings(deadline=None)
@given(st.binary(max_size=50) | st.from_regex(rb"[0-9]{0,6}", fullmatch=True))
@example(b"3" * 5000)
@example(b"x" * 2**20)
def test_every_body_has_a_reply_on_one_line_and_an_error_is_short(body):
    reply_type, encoded = make_reply(body)
    reply = encoded.decode()
    assert reply.isprintable()
    assert (reply_type == "result") == reply.isdigit()
    assert reply_type == "result" or (reply_type == "error" and len(reply) < 1000)


@pytest.mark.parametrize("words", ["out of numbers", "\udce9", "two\nlines"])
def test_a_failure_of_the_function_is_an_error_that_can_be_sent(monkeypatch, log, words):
    def fail(_n):
        raise ArithmeticError(words)

    monkeypatch.setattr("server.fib", fail)
    assert make_reply(b"30") == ("error", f"ArithmeticError({words!r})".encode())
    assert log.exception.call_args == call(" [!] fib(%d) failed", 30)


# parse_reply


@pytest.mark.parametrize("n", [0, 30, MAX_N])
@pytest.mark.parametrize("reply_type", [None, "another"])
def test_what_server_py_replies_is_a_number_with_any_type_but_error(n, reply_type):
    own_type, body = make_reply(str(n).encode())
    assert parse_reply(own_type, body) == parse_reply(reply_type, body) == fib(n)


@pytest.mark.parametrize(
    ("reply_type", "body"),
    [
        ("error", b"out of numbers"),
        ("error", b"55"),
        ("result", b""),
        ("result", b"out of numbers"),
        (None, b"\n\xff" * 999),
        (None, b"3" * 5000),
    ],
)
def test_an_error_or_no_number_raises_rpc_error_in_one_line_with_the_words(reply_type, body):
    with pytest.raises(RpcError) as caught:
        parse_reply(reply_type, body)
    assert repr(body[:9].decode(errors="replace"))[1:-1] in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


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
    with pytest.raises(ValueError, match="use amqp://user:p%23ss@host") as caught:
        FibonacciRpcClient(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__suppress_context__
