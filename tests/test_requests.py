"""Requests to one server.py, good and hostile: each gets its due, and the server lives on."""

import datetime
import decimal

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import server as server_script
from conftest import ask, until


@pytest.mark.parametrize(
    ("n", "value"),
    [(0, 0), (1, 1), (2, 1), (10, 55), (30, 832040), (100, 354224848179261915075)],
)
def test_fib_of_known_values(n, value):
    assert server_script.fib(n) == value


def test_fib_of_the_largest_n_has_as_many_digits_as_python_still_prints():
    assert len(str(server_script.fib(server_script.MAX_N))) == 4180
    assert server_script.fib(20_000) == server_script.fib(19_999) + server_script.fib(19_998)


@pytest.mark.parametrize(("n", "value"), [(b"0", b"0"), (b"30", b"832040"), (b"00030", b"832040")])
def test_the_reply_to_a_number_is_its_value_in_ascii_digits(caller, n, value):
    method, props, body = ask(caller, n)
    assert (method.exchange, props.type, body) == ("", "result", value)


def test_the_reply_to_the_largest_n_is_whole(caller):
    _, props, body = ask(caller, b"20000")
    assert (props.type, int(body)) == ("result", server_script.fib(20_000))


def test_the_reply_has_the_requests_correlation_id_a_type_a_content_type_and_no_more(caller):
    _, props, _ = ask(caller, b"30", headers={"x": 1}, delivery_mode=2, expiration="60000")
    given = {name: value for name, value in vars(props).items() if value is not None}
    assert given == {
        "correlation_id": "the-request's-own",
        "type": "result",
        "content_type": "text/plain",
    }


@pytest.mark.parametrize("correlation_id", [None, "", "x" * 255])
def test_the_correlation_id_comes_back_unchanged_even_when_absent(caller, correlation_id):
    _, props, body = ask(caller, b"10", correlation_id=correlation_id)
    assert (props.correlation_id, body) == (correlation_id, b"55")


NO_N = {
    "empty": b"",
    "a word": b"abc",
    "a sign": b"+30",
    "a minus": b"-30",
    "a space": b" 30",
    "a newline": b"30\n",
    "an underscore": b"3_0",
    "a decimal": b"30.0",
    "an exponent": b"3e1",
    "hex": b"0x1e",
    "Arabic digits": "\u0663\u0660".encode(),
    "superscript digits": "\u00b3\u2070".encode(),
    "UTF-16": "30".encode("utf-16"),
    "binary": bytes(range(256)),
    "a NUL": b"30\0",
    "six digits": b"000030",
    "5,000 digits": b"3" * 5000,
    "5,000 zeros": b"0" * 5000,
    "1 MB": b"x" * 2**20,
    "1 MB of digits": b"9" * 2**20,
    "JSON": b'{"n": 30}',
    "too large": b"20001",
    "quotes": b"'\"\\",
}


@pytest.mark.parametrize("body", NO_N.values(), ids=NO_N.keys())
def test_what_is_no_n_comes_back_as_an_error_that_quotes_it_and_says_what_is_allowed(
    caller, standing_server, body
):
    _, props, reply = ask(caller, body)
    assert (props.type, props.content_type) == ("error", "text/plain")
    assert props.correlation_id == "the-request's-own"
    assert "0 to 20000" in reply.decode()
    assert repr(body[:40]) in reply.decode()
    assert len(reply) < 300
    standing_server.says(f" [!] {reply.decode()}")


short = st.text(max_size=60)
table_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | short
    | st.binary(max_size=60)
    | st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31))
    | st.decimals(-(10**6), 10**6, places=3).map(decimal.Decimal),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short, inner, max_size=3),
    max_leaves=8,
)
# RabbitMQ itself refuses a foreign user_id, CC or BCC that are no lists, other delivery modes.
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": short,
        "content_encoding": short,
        "headers": st.dictionaries(
            short.filter(lambda key: key not in ("CC", "BCC")), table_values
        ),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": short | st.binary(max_size=60),
        "reply_to": short | st.binary(max_size=60),
        "expiration": st.integers(5000, 2**32 - 1).map(str),
        "message_id": short | st.binary(max_size=60),
        "timestamp": st.integers(0, 2**64 - 1),
        "type": short,
        "user_id": st.just("guest"),
        "app_id": short,
        "cluster_id": short,
    },
)


@pytest.mark.timeout(120)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=200) | st.from_regex(rb"[0-9]{0,6}", fullmatch=True), props=properties
)
def test_no_body_and_no_properties_that_pika_can_decode_stop_a_server(caller, broker, body, props):
    if props.get("user_id") and "//guest:" not in broker.url:
        del props["user_id"]
    caller.basic_publish("", "rpc_queue", body, pika.BasicProperties(**props))
    assert ask(caller, b"30")[2] == b"832040"


@pytest.mark.parametrize("reply_to", [None, "", "rpc_queue", "nowhere", "x" * 255, b"\xff\xfe"])
def test_a_reply_to_that_leads_nowhere_costs_nothing(caller, reply_to):
    caller.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    assert ask(caller, b"30")[2] == b"832040"


def test_a_caller_with_direct_reply_to_gets_its_answer(caller):
    replies = []
    caller.basic_consume(
        "amq.rabbitmq.reply-to", lambda *reply: replies.append(reply), auto_ack=True
    )
    props = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="x")
    caller.basic_publish("", "rpc_queue", b"30", props)
    until(lambda: caller.connection.process_data_events(0.1) or replies)
    assert (replies[0][3], replies[0][2].correlation_id) == (b"832040", "x")
