"""What server.py puts on the wire: rpc_queue, and its reply to each kind of request."""

import signal

import pika
import pytest

from harness import AWAITING, ask, take, until


@pytest.mark.parametrize(("request_body", "kind"), [(b"30", "result"), (b"abc", "error")])
def test_a_reply_has_two_properties(channel, server, request_body, kind):
    _, props, _ = ask(channel, request_body, headers={"x": 1}, delivery_mode=2, expiration="60000")
    assert props == pika.BasicProperties(correlation_id="the-request's-own", type=kind)


@pytest.mark.parametrize("correlation_id", [None, "", "x" * 255])
def test_the_correlation_id_comes_back_unchanged_even_when_absent(channel, server, correlation_id):
    _, props, body = ask(channel, b"10", correlation_id=correlation_id)
    assert (props.correlation_id, body) == (correlation_id, b"55")


def test_a_reply_to_that_leads_nowhere_costs_nothing(channel, server):
    for reply_to in (None, "", "nowhere", "x" * 255, b"\xff\xfe"):
        channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    assert ask(channel, b"10")[2] == b"55"
    assert server.out == f"{AWAITING}\n" + " [.] fib(30)\n" * 5 + " [.] fib(10)\n"


def test_a_caller_with_direct_reply_to_gets_its_answer(channel, server):
    replies: list = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda *reply: replies.append(reply), auto_ack=True
    )
    props = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="x")
    channel.basic_publish("", "rpc_queue", b"30", props)
    until(lambda: channel.connection.process_data_events(0.1) or replies)
    assert (replies[0][3], replies[0][2].correlation_id) == (b"832040", "x")


# rpc_queue


def test_the_server_declares_rpc_queue_as_durable(channel, server):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="406"):
        channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})


def test_a_server_takes_one_request_at_a_time(channel, idle_queue, start_server):
    frozen = start_server()
    frozen.process.send_signal(signal.SIGSTOP)
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    for n in (b"10", b"20", b"30"):
        channel.basic_publish("", "rpc_queue", n, pika.BasicProperties(reply_to=reply_to))
    start_server()
    assert [take(channel, reply_to)[2] for _ in range(2)] == [b"6765", b"832040"]
    frozen.process.send_signal(signal.SIGCONT)
    assert take(channel, reply_to)[2] == b"55"
