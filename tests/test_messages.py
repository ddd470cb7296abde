"""Messages that nobody foresaw: whatever comes in, the next good message gets its due."""

import contextlib
import datetime
import decimal
import struct
import threading

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import FibonacciRpcClient
from conftest import ask, reply_from, until

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
    "5,000 digits": b"3" * 5000,
    "5,000 zeros": b"0" * 5000,
    "1 MB": b"x" * 2**20,
    "JSON": b'{"n": 30}',
    "too large": b"20001",
    "quotes": b"'\"\\",
}


@pytest.mark.parametrize("body", NO_N.values(), ids=NO_N.keys())
def test_whatever_is_no_n_is_an_error_and_the_same_server_answers_the_next(server, channel, body):
    _, props, reply = ask(channel, body)
    assert props.type == "error"
    assert len(reply) < 300
    assert ask(channel, b"30")[2] == b"832040"
    assert server.out.count("Awaiting") == 1


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
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=200) | st.from_regex(rb"[0-9]{0,6}", fullmatch=True), props=properties
)
def test_no_body_and_no_properties_stop_a_server(server, channel, broker, body, props):
    if props.get("user_id") and "//guest:" not in broker.url:
        del props["user_id"]
    channel.basic_publish("", "rpc_queue", body, pika.BasicProperties(**props))
    assert ask(channel, b"30")[2] == b"832040"
    assert server.process.poll() is None
    assert server.out.count("Awaiting") == 1


@pytest.mark.parametrize("reply_to", [None, "", "rpc_queue", "nowhere", "x" * 255, b"\xff\xfe"])
def test_a_reply_to_that_leads_nowhere_costs_nothing(server, channel, reply_to):
    channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    assert ask(channel, b"30")[2] == b"832040"
    assert server.out.count("Awaiting") == 1


def test_a_caller_with_direct_reply_to_gets_its_answer(server, channel):
    replies = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda *reply: replies.append(reply), auto_ack=True
    )
    props = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="x")
    channel.basic_publish("", "rpc_queue", b"30", props)
    until(lambda: channel.connection.process_data_events(0.1) or replies)
    assert (replies[0][3], replies[0][2].correlation_id) == (b"832040", "x")


class Raw(pika.BasicProperties):
    """Properties as the bytes that go over the wire, which pika would not write."""

    def __init__(self, flag, encoded):
        super().__init__()
        self.encoded = struct.pack(">H", flag) + encoded

    def encode(self):
        return [self.encoded]


def headers(table):
    return Raw(pika.BasicProperties.FLAG_HEADERS, struct.pack(">I", len(table)) + table)


def tables_within_tables(depth):
    table = b""
    for _ in range(depth):
        table = b"\x01xF" + struct.pack(">I", len(table)) + table
    return table


UNDECODABLE = {
    "a time in milliseconds": headers(b"\x01xT" + struct.pack(">Q", 1_800_000_000_000)),
    "a time before 1970": headers(b"\x01xT" + struct.pack(">q", -1)),
    "3,000 tables in one another": headers(tables_within_tables(3000)),
}
FORGED = "amq.rabbitmq.reply-to.g1h2AA9yZXBseUA1NTY3.x"  # RabbitMQ 3.10 and 4.0 fail to read it


@pytest.mark.parametrize("props", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_headers_that_pika_cannot_decode_cost_their_request_only(server, channel, props):
    channel.basic_publish("", "rpc_queue", b"30", props)
    assert ask(channel, b"30")[2] == b"832040"
    server.says(" [!] Rejected a request without reply_to")
    assert server.out.count("Awaiting") == 1


def test_a_forged_direct_reply_to_costs_a_connection_at_the_most(server, channel):
    channel.basic_publish("", "rpc_queue", b"1", pika.BasicProperties(reply_to=FORGED))
    assert ask(channel, b"30")[2] == b"832040"
    assert ask(channel, b"20")[2] == b"6765"
    assert server.process.poll() is None
    assert channel.queue_declare("rpc_queue", passive=True).method.message_count == 0


def test_a_fleet_of_three_outlives_the_messages_that_killed_the_tutorials(channel, start_server):
    fleet = [start_server() for _ in range(3)]
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    deadly = [pika.BasicProperties(reply_to=reply_to), *UNDECODABLE.values()]
    for props in deadly:
        channel.basic_publish("", "rpc_queue", b"abc", props)
    assert reply_from(channel, reply_to)[1].type == "error"
    assert {ask(channel, b"30")[2] for _ in range(12)} == {b"832040"}
    assert [server.process.poll() for server in fleet] == [None, None, None]
    assert [server.out.count("Awaiting") for server in fleet] == [1, 1, 1]


def test_a_failure_inside_the_computation_is_an_error_reply_and_is_logged(channel, run):
    broken = run("-c", "import server; server.fib = lambda n: {}[n]; server.main()")
    broken.says(" [x] Awaiting RPC requests")
    for _ in range(2):
        _, props, reply = ask(channel, b"30")
        assert (props.type, reply) == ("error", b"KeyError: 30")
    broken.says(" [!] KeyError: 30", times=2)


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


@pytest.mark.parametrize("props", STRAYS.values(), ids=STRAYS.keys())
def test_replies_to_nobody_count_for_nothing_before_between_and_after_calls(
    client, server, stray, props
):
    stray(**props)
    assert client.call(10) == 55
    stray(**props)
    stray(**props)
    assert client.call(20) == 6765
    stray(**props)


@pytest.mark.parametrize("props", STRAYS.values(), ids=STRAYS.keys())
def test_replies_to_nobody_during_a_call_count_for_nothing(client, raw_server, props):
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


@pytest.mark.parametrize("props", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_a_reply_that_pika_cannot_decode_costs_the_client_a_connection_but_no_call(
    client, server, channel, props
):
    channel.basic_publish("", client.callback_queue, b"666", props)
    assert client.call(30) == 832040


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
            with pytest.raises(TimeoutError):
                client.call(30)
        finally:
            over.set()
            flooding.join()
