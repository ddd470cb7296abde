"""Compute Fibonacci numbers for clients that ask for them over RabbitMQ.

A client publishes a request, the number n, to the queue rpc_queue. RabbitMQ delivers each request
to one server, and keeps it until that server acknowledges it. The server publishes its reply to
the queue that the request names in reply_to, with the correlation_id of the request, so that the
client can recognize the reply.

The pattern is in on_request(), serve() and open_channel(). make_reply() and fib() do the work, and
main() reconnects after failures.
"""

import argparse
import contextlib
import os
import signal
import sys
import time

import pika
from pika.adapters.blocking_connection import BlockingChannel

# The default names the user guest, the password guest and the virtual host "/", written %2F.
AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"
MAX_N = 20_000  # fib(20_000) has 4,180 digits; Python's str() and int() refuse more than 4,300


def on_request(channel, method, props, body):
    """Reply to one request, then acknowledge it. Reject a request without reply_to."""
    tag = method.delivery_tag  # RabbitMQ's number for this delivery
    if not props.reply_to:
        print(" [!] Rejected a request without reply_to", file=sys.stderr)
        channel.basic_reject(delivery_tag=tag, requeue=False)  # drop it
        return
    reply_type, reply = make_reply(body)
    channel.basic_publish(
        exchange="",  # the default exchange: it delivers to the queue named by routing_key
        routing_key=props.reply_to,  # RabbitMQ drops the reply if this queue is gone
        properties=pika.BasicProperties(
            correlation_id=props.correlation_id,
            type=reply_type,  # "result" or "error"; RabbitMQ ignores it
            content_type="text/plain",
        ),
        body=reply,
    )
    # Acknowledge last: if this server dies before it replies, another server gets the request.
    channel.basic_ack(delivery_tag=tag)


def serve(parameters: pika.URLParameters) -> None:
    """Answer requests until something fails. Raises pika's exceptions or OSError."""
    with pika.BlockingConnection(parameters) as connection:
        channel = open_channel(connection)
        channel.basic_qos(prefetch_count=1)  # hold one request; the rest wait for a free server
        channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
        print(" [x] Awaiting RPC requests", flush=True)
        channel.start_consuming()  # calls on_request for each request; ends if rpc_queue is deleted
        raise ConnectionError("RabbitMQ stopped delivering requests; was rpc_queue deleted?")


def open_channel(connection: pika.BlockingConnection) -> BlockingChannel:
    """Return a channel, a session within the connection, after creating rpc_queue if necessary."""
    channel = connection.channel()
    try:
        # A durable queue survives a restart of RabbitMQ. Its requests need not: their callback
        # queues are gone then. RabbitMQ 4.3 refuses shared queues that are not durable.
        channel.queue_declare(queue="rpc_queue", durable=True)
    except pika.exceptions.ChannelClosedByBroker as error:
        # rpc_queue exists with other settings (RabbitMQ's tutorial declares a quorum queue, say),
        # or this user may not declare queues. Consuming from the existing queue may still work.
        print(f" [!] Cannot declare rpc_queue; continuing: {error!r}", file=sys.stderr)
        # The refusal closed the channel. pika 1.5 raises it again at the next call: ignore it here.
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            connection.process_data_events()
        channel = connection.channel()
    return channel


def make_reply(request: bytes) -> tuple[str, bytes]:
    """Return the type ("result" or "error") and the body of the reply to a request."""
    # While this runs, pika sends no heartbeats (signs of life). After two or three minutes RabbitMQ
    # closes the connection and has the request run again: see "Long work" in the README.
    try:
        n = int(request)
        if not 0 <= n <= MAX_N:
            raise ValueError(f"n must be from 0 to {MAX_N}")
        result = str(fib(n)).encode()
    except Exception as error:  # the client gets the error, and this server carries on
        print(f" [!] {error!r}", file=sys.stderr)
        return "error", repr(error).encode()
    print(f" [.] fib({n})", flush=True)
    return "result", result


def fib(n: int) -> int:
    """Return the nth Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def main() -> None:
    """Serve forever. After any failure, even a refused login, print it and retry in a second."""
    argparse.ArgumentParser(description="Answer RPC requests.").parse_args()  # only for --help
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the server without a traceback
    try:
        parameters = pika.URLParameters(AMQP_URL)
    except Exception:  # omit pika's message, which may contain the password
        sys.exit(" [!] Invalid AMQP_URL; use amqp://user:password@host:5672/%2F")
    while True:
        try:
            serve(parameters)
        except Exception as error:
            problem = f"RabbitMQ at {parameters.host}:{parameters.port}: {error!r}"
            print(f" [!] {problem}; reconnecting in a second", file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    main()
