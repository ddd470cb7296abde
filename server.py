"""Compute Fibonacci numbers for clients that ask for them over RabbitMQ.

A client publishes a request, the number n, to the queue rpc_queue. RabbitMQ delivers each request
to one server, and keeps it until that server acknowledges it. The server publishes its reply to
the queue that the request names in reply_to, with the correlation_id of the request.

fib(), on_request() and serve() are the pattern: to learn it, stop there. The rest handles failures.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import time

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # not an AMQPError

# The default names the user guest, the password guest and the virtual host "/", written %2F.
AMQP_URL = os.environ.get("AMQP_URL") or "amqp://guest:guest@localhost:5672/%2F"
MAX_N = 20_000  # fib(20_000) has 4,180 digits; Python's str() and int() refuse more than 4,300

log = logging.getLogger(__name__)  # print() would fail once the terminal closes or the disk fills


def fib(n: int) -> int:
    """Return the nth Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def on_request(channel, method, props, body):
    """Reply to a request, then acknowledge it. method is its delivery, props are its properties."""
    if not props.reply_to:
        log.warning(" [!] Rejected a request without reply_to")
        channel.basic_reject(delivery_tag=method.delivery_tag, requeue=False)  # drop it
        return
    reply_type, reply = make_reply(body)
    channel.basic_publish(
        exchange="",  # the default exchange: it delivers to the queue named by routing_key
        routing_key=props.reply_to,  # if this queue is gone, RabbitMQ drops the reply
        properties=pika.BasicProperties(
            correlation_id=props.correlation_id,
            type=reply_type,  # "result" or "error", for the client
        ),
        body=reply,
    )
    # Acknowledge last: if this server dies before it replies, another server gets the request.
    channel.basic_ack(delivery_tag=method.delivery_tag)


def serve(parameters: pika.URLParameters) -> None:
    """Answer requests until the connection fails. Raises pika's exceptions or OSError."""
    with pika.BlockingConnection(parameters) as connection:
        declare_queue(connection)  # creates rpc_queue if necessary
        channel = connection.channel()  # commands to RabbitMQ go through a channel
        channel.basic_qos(prefetch_count=1)  # hold one request; the rest wait for a free server
        channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
        log.info(" [x] Awaiting RPC requests")
        channel.start_consuming()  # calls on_request() for each request
        raise ConnectionError("RabbitMQ stopped delivering requests; was rpc_queue deleted?")


def declare_queue(connection: pika.BlockingConnection) -> None:
    """Create rpc_queue. Where its settings differ, RabbitMQ refuses and closes the channel."""
    try:
        # A durable queue survives a restart of RabbitMQ. Version 4.3 refuses other shared queues.
        connection.channel().queue_declare(queue="rpc_queue", durable=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        log.warning(" [!] Cannot declare rpc_queue; using it as it is: %r", error)
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            connection.process_data_events()  # pika 1.5 raises the refusal here once more


def make_reply(request: bytes) -> tuple[str, bytes]:
    """Return the type and the body of the reply to a request."""
    try:
        n = int(request)
        if not 0 <= n <= MAX_N:
            raise ValueError(f"n must be from 0 to {MAX_N}")
    except ValueError as error:
        log.warning(" [!] Bad request: %s", error)
        return "error", str(error).encode()
    log.info(" [.] fib(%d)", n)
    try:
        # pika sends no heartbeats (signs of life) meanwhile. After two to three minutes, RabbitMQ
        # disconnects and redelivers the request, unless AMQP_URL ends with ?heartbeat=1800 (s).
        return "result", str(fib(n)).encode()
    except Exception as error:  # the client gets the error, and this server carries on
        log.exception(" [!] fib(%d) failed", n)
        return "error", repr(error).encode()


def stop(signum, frame):
    """End at once, also as process 1 of a container. Another server gets the request in hand."""
    os._exit(0)  # sys.exit() would close the connection first: for minutes, if RabbitMQ hangs


def main() -> None:
    """Serve until Ctrl-C or SIGTERM. After a failure of the connection, try again in a second."""
    argparse.ArgumentParser(description="Compute fib(n) for client.py over RabbitMQ.").parse_args()
    log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)
    logging.raiseExceptions = False  # print no traceback for a line that cannot be written
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        parameters = pika.URLParameters(AMQP_URL)
    except Exception:  # omit pika's message, which may contain the password
        sys.exit(" [!] Invalid AMQP_URL; use amqp://user:p%23ss@host:5672/%2F, percent-encoded")
    while True:
        try:
            serve(parameters)
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            address = f"{parameters.host}:{parameters.port}"
            log.warning(" [!] RabbitMQ at %s: %r; reconnecting in a second", address, error)
        time.sleep(1)


if __name__ == "__main__":
    main()
