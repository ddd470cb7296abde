"""server.py and its queue: how it declares it, what it does with it, and what it cannot take."""

import signal
import struct

import pika
import pytest

from conftest import AWAITING, ask, in_thread, reply_from, until


def test_a_request_is_acknowledged_once_it_is_answered(channel, server):
    ask(channel, b"30")
    ask(channel, b"abc")
    server.stop()
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.consumer_count == 0)
    assert channel.queue_declare("rpc_queue", passive=True).method.message_count == 0


def test_a_request_without_reply_to_goes_to_the_dead_letter_queue_and_is_logged(
    channel, start_server
):
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    channel.queue_declare("rpc_queue", durable=True, arguments=arguments)
    channel.queue_declare("dead", exclusive=True)
    server = start_server()
    for reply_to in (None, ""):
        channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
        assert reply_from(channel, "dead")[2] == b"30"
    server.says(" [!] Rejected a request without reply_to", times=2)


def test_rpc_queue_is_durable(channel, server):
    channel.queue_declare("rpc_queue", durable=True)  # refused, were it declared otherwise


def test_a_request_that_waits_in_the_queue_is_answered_once_a_server_starts(channel, start_server):
    channel.queue_declare("rpc_queue", durable=True)
    reply_to = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", "rpc_queue", b"30", pika.BasicProperties(reply_to=reply_to))
    start_server()
    assert reply_from(channel, reply_to)[2] == b"832040"


def test_an_rpc_queue_that_exists_as_a_quorum_queue_is_consumed_as_it_is_and_the_server_says_so(
    channel, start_server
):
    channel.queue_declare("rpc_queue", durable=True, arguments={"x-queue-type": "quorum"})
    server = start_server()
    assert ask(channel, b"30")[2] == b"832040"
    assert server.err.startswith(" [!] Cannot declare rpc_queue; continuing anyway: ")
    assert "406" in server.err
    assert server.err.count("\n") == 1


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


def test_a_failure_inside_the_computation_is_an_error_reply_and_is_logged(channel, run):
    broken = run("-c", "import server; server.fib = lambda n: {}[n]; server.main()")
    broken.says(AWAITING)
    for _ in range(2):
        _, props, reply = ask(channel, b"30")
        assert (props.type, reply) == ("error", b"KeyError: 30")
    broken.says(" [!] KeyError: 30", times=2)


UNUTTERABLE = """
import server

def fib(n):
    raise ValueError(chr(0xDCE9))

server.fib = fib
server.main()
"""


def test_a_failure_whose_words_utf_8_cannot_encode_is_an_error_reply_too(channel, run):
    broken = run("-c", UNUTTERABLE)
    broken.says(AWAITING)
    _, props, reply = ask(channel, b"30")
    assert (props.type, reply) == ("error", b"ValueError: \\udce9")
    broken.says(" [!] ValueError: \\udce9")


# A server whose standard output breaks when it has a request to compute.
SPEECHLESS = """
import server

def say(line, **options):
    if "fib" in line:
        raise BrokenPipeError
    print(line, **options)

server.print = say
server.main()
"""


def test_a_server_that_cannot_print_leaves_its_request_to_another(channel, run, start_server):
    speechless = run("-c", SPEECHLESS)
    speechless.says(AWAITING)
    answer = in_thread(ask, channel, b"30")
    until(lambda: "BrokenPipeError" in speechless.err)
    start_server()
    assert until(lambda: answer)[0][2] == b"832040"


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
FORGED = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to.g1h2AA9yZXBseUA1NTY3.x")


@pytest.mark.parametrize("poison", [[*UNDECODABLE.values()], [FORGED]], ids=["headers", "forged"])
def test_a_known_limit_a_poisonous_message_goes_round_until_the_queue_is_purged(
    channel, start_server, poison
):
    def left():
        return channel.queue_declare("rpc_queue", passive=True).method

    server = start_server()
    for props in poison:
        channel.basic_publish("", "rpc_queue", b"30", props)
    # RabbitMQ 3.10 and 4.0 close the connection for a forged reply_to; 4.3 takes the reply.
    until(
        lambda: (
            server.err.count("reconnecting") == 2
            or (FORGED in poison and left().message_count == 0)
        )
    )
    server.stop()
    until(lambda: left().consumer_count == 0)
    channel.queue_purge("rpc_queue")
    start_server()
    assert ask(channel, b"30")[2] == b"832040"


@pytest.mark.parametrize("props", UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_a_reply_that_pika_cannot_decode_costs_the_client_a_connection_but_no_call(
    client, server, channel, props
):
    channel.basic_publish("", client.callback_queue, b"666", props)
    assert client.call(30) == 832040
