"""Compute Fibonacci numbers for clients that ask for them over RabbitMQ.

A client publishes a request, the number n, to the queue rpc_queue. RabbitMQ delivers each request
to one server, and keeps it until that server acknowledges it. The server publishes its reply to
the queue that the request names in reply_to, with the correlation_id of the request.

To learn the pattern, stop before main(), which handles failures of the connection.
"""

import logging
import os
import signal
import sys
import time

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # not an AMQPError

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost")  # user:password@host
MAX_N = 20_000  # fib(20_000) has 4,180 digits; Python's str() and int() refuse more than 4,300

log = logging.getLogger(__name__)


def fib(n: int) -> int:
    """Return the nth Fibonacci number. Raises ValueError if n is negative or over MAX_N."""
    if not 0 <= n <= MAX_N:
        raise ValueError(f"n must be from 0 to {MAX_N}")
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def on_request(channel, method, props, body):
    """Reply to a request, then acknowledge it. method is its delivery, props are its properties."""
    try:
        n = int(body)
        log.info(" [.] fib(%d)", n)
        # While fib() runs, this server sends no heartbeats, and after two or three minutes RabbitMQ
        # disconnects it. For longer work, add ?heartbeat=1800 (seconds) to the server's AMQP_URL.
        reply_type, reply = "result", str(fib(n)).encode()
    except Exception as error:  # a bad request or a bug: tell the client, and carry on
        log.exception(" [!] Request failed: %r", body[:100])
        reply_type, reply = "error", repr(error).encode()
    channel.basic_publish(
        exchange="",  # the default exchange: it delivers to the queue named by routing_key
        routing_key=props.reply_to or "",  # if missing or gone, RabbitMQ drops the reply
        properties=pika.BasicProperties(
            correlation_id=props.correlation_id,
            type=reply_type,  # our convention: "result" or "error"
        ),
        body=reply,
    )
    # Acknowledge last: if this server dies first, another server gets the request.
    channel.basic_ack(delivery_tag=method.delivery_tag)


def serve(parameters: pika.URLParameters) -> None:
    """Answer requests until the connection fails. Raises pika's exceptions or OSError."""
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()  # commands to RabbitMQ go through a channel
        # Create rpc_queue, unless it exists. If its settings differ, RabbitMQ closes the channel.
        # durable: the queue survives a restart of RabbitMQ. Requests may not; clients resend them.
        channel.queue_declare(queue="rpc_queue", durable=True)
        channel.basic_qos(prefetch_count=1)  # hold one request; the rest wait for a free server
        channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
        log.info(" [x] Awaiting RPC requests")
        channel.start_consuming()  # calls on_request(); returns once RabbitMQ cancels the consumer
        raise ConnectionError("consumer cancelled: rpc_queue deleted or unreachable, or slow work")


def main() -> None:
    """Serve until Ctrl-C or SIGTERM. After a failure of the connection, try again in a second."""
    log.addHandler(logging.StreamHandler(sys.stdout))  # print() would raise if its output closes
    log.setLevel(logging.INFO)
    for signum in (signal.SIGINT, signal.SIGTERM):
        # Process 1 of a container ignores SIGTERM, unless it has a handler. sys.exit() would first
        # close the connection, which takes minutes if RabbitMQ hangs.
        signal.signal(signum, lambda *_: os._exit(0))
    try:
        parameters = pika.URLParameters(AMQP_URL)
    except Exception as error:  # omit the message, which may contain the password
        example = "amqp://user:p%23ss@host:5672/vhost?heartbeat=60"
        sys.exit(f" [!] Invalid AMQP_URL ({type(error).__name__}); use {example}")
    if sys.platform == "linux":  # if the network falls silent, reconnect within ten seconds or so
        options = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_USER_TIMEOUT": 6_000}  # s, s, ms
        parameters.tcp_options = options | (parameters.tcp_options or {})
    while True:
        try:
            serve(parameters)
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            address = f"{parameters.host}:{parameters.port}"
            log.warning(" [!] RabbitMQ at %s: %r; reconnecting in a second", address, error)
        time.sleep(1)


if __name__ == "__main__":
    main()
