"""server.py alone: fib, and each property of its replies, as a plain pika client sees them."""

import signal

import pika
import pytest

import server as server_script
from conftest import ask, reply_from, until


@pytest.mark.parametrize(
    ("n", "value"),
    [(0, 0), (1, 1), (2, 1), (10, 55), (30, 832040), (100, 354224848179261915075)],
)
def test_fib_of_known_values(n, value):
    assert server_script.fib(n) == value


def test_fib_at_the_upper_end_of_its_range_has_as_many_digits_as_python_still_prints():
    assert len(str(server_script.fib(20_000))) == 4180
    assert server_script.fib(20_000) == server_script.fib(19_999) + server_script.fib(19_998)


@pytest.mark.parametrize("n", [-1, 20_001])
def test_fib_outside_its_range_names_n_and_the_range(n):
    with pytest.raises(ValueError, match=f"0 to 20000, not {n}"):
        server_script.fib(n)


@pytest.mark.parametrize(("n", "value"), [(b"0", b"0"), (b"30", b"832040"), (b"00030", b"832040")])
def test_the_reply_to_a_number_is_its_value_in_ascii_digits(server, channel, n, value):
    method, props, body = ask(channel, n)
    assert (method.exchange, props.type, body) == ("", "result", value)


def test_the_reply_to_the_largest_n_is_whole(server, channel):
    _, props, body = ask(channel, b"20000")
    assert (props.type, int(body)) == ("result", server_script.fib(20_000))


def test_the_reply_has_the_requests_correlation_id_a_type_a_content_type_and_no_more(
    server, channel
):
    _, props, _ = ask(channel, b"30", headers={"x": 1}, delivery_mode=2, expiration="60000")
    given = {name: value for name, value in vars(props).items() if value is not None}
    assert given == {
        "correlation_id": "the-request's-own",
        "type": "result",
        "content_type": "text/plain",
    }


@pytest.mark.parametrize("correlation_id", [None, "", "x" * 255])
def test_the_correlation_id_comes_back_unchanged_even_when_absent(server, channel, correlation_id):
    _, props, body = ask(channel, b"10", correlation_id=correlation_id)
    assert (props.correlation_id, body) == (correlation_id, b"55")


@pytest.mark.parametrize("body", [b"", b"abc", b"-1", b"20001", b"000030", b"x" * 5000])
def test_what_is_no_n_comes_back_as_an_error_that_quotes_it_and_says_what_is_allowed(
    server, channel, body
):
    _, props, reply = ask(channel, body)
    assert (props.type, props.content_type) == ("error", "text/plain")
    assert props.correlation_id == "the-request's-own"
    assert b"0 to 20000" in reply
    assert body[:40] in reply
    assert body[:41] not in reply or len(body) <= 40
    server.says(f" [!] {reply.decode()}")


def test_a_request_is_acknowledged_once_it_is_answered(server, channel):
    ask(channel, b"30")
    ask(channel, b"abc")
    assert server.stop() == 0
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.consumer_count == 0)
    assert channel.queue_declare("rpc_queue", passive=True).method.message_count == 0


def test_a_request_without_reply_to_goes_to_the_dead_letter_queue_and_is_logged(
    channel, run, start_server
):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("rpc_queue", durable=True, arguments=arguments)
    channel.queue_declare("dead", exclusive=True)
    server = start_server()
    channel.basic_publish("", "rpc_queue", b"30")
    assert reply_from(channel, "dead")[2] == b"30"
    server.says(" [!] Rejected a request without reply_to")


def test_rpc_queue_is_durable(server, channel):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise


def test_a_request_that_waits_in_the_queue_is_answered_once_a_server_starts(channel, start_server):
    channel.queue_declare("rpc_queue", durable=True)
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    start_server()
    assert reply_from(channel, reply_to)[2] == b"832040"


def test_an_rpc_queue_that_exists_as_a_quorum_queue_is_consumed_as_it_is(channel, start_server):
    channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})
    start_server()
    assert ask(channel, b"30")[2] == b"832040"


def test_a_server_takes_one_request_at_a_time_and_leaves_the_others_to_its_peers(
    channel, start_server
):
    frozen = start_server()
    frozen.process.send_signal(signal.SIGSTOP)
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    for n in (b"10", b"20", b"30"):
        channel.basic_publish("", "rpc_queue", n, pika.BasicProperties(reply_to=reply_to))
    start_server()
    assert [reply_from(channel, reply_to)[2] for _ in range(2)] == [b"6765", b"832040"]
    frozen.process.send_signal(signal.SIGCONT)
    assert reply_from(channel, reply_to)[2] == b"55"
