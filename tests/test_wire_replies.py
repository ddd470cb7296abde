"""What server.py puts on the wire: its reply to each kind of request."""

import pika
import pytest

from harness import AWAITING, Script, ask, until


@pytest.fixture(scope="module")
def standing_server(broker, tmp_path_factory):
    """One server.py for the tests that delete no queue: to start one for each takes longer."""
    broker.delete_queue()
    server = Script(tmp_path_factory.mktemp("server"), "server.py", AMQP_URL=broker.url)
    server.prints(AWAITING)
    yield server
    server.stop()


@pytest.fixture
def caller(standing_server, channel):
    """A plain pika channel; fails a test that cost the standing server its connection."""
    yield channel
    assert ask(channel, b"30")[2] == b"832040"
    assert standing_server.out.count(AWAITING) == 1


@pytest.mark.parametrize(("request_body", "kind"), [(b"30", "result"), (b"abc", "error")])
def test_a_reply_has_two_properties(caller, request_body, kind):
    _, props, _ = ask(caller, request_body, headers={"x": 1}, delivery_mode=2, expiration="60000")
    assert props == pika.BasicProperties(correlation_id="the-request's-own", type=kind)


@pytest.mark.parametrize("correlation_id", [None, "", "x" * 255])
def test_the_correlation_id_comes_back_unchanged_even_when_absent(caller, correlation_id):
    _, props, body = ask(caller, b"10", correlation_id=correlation_id)
    assert (props.correlation_id, body) == (correlation_id, b"55")


@pytest.mark.parametrize("reply_to", [None, "", "rpc_queue", "nowhere", "x" * 255, b"\xff\xfe"])
def test_a_reply_to_that_leads_nowhere_costs_nothing(caller, reply_to):
    caller.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))


def test_a_caller_with_direct_reply_to_gets_its_answer(caller):
    replies: list = []
    caller.basic_consume(
        "amq.rabbitmq.reply-to", lambda *reply: replies.append(reply), auto_ack=True
    )
    props = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="x")
    caller.basic_publish("", "rpc_queue", b"30", props)
    until(lambda: caller.connection.process_data_events(0.1) or replies)
    assert (replies[0][3], replies[0][2].correlation_id) == (b"832040", "x")
