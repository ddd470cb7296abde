"""Compute Fibonacci numbers for clients that ask for them over RabbitMQ.

Clients publish requests to a queue, rpc_queue. RabbitMQ gives each request to one server and keeps
it until that server acknowledges it. The server publishes its reply to the queue named in the
request's reply_to property, with the same correlation_id, which identifies the request.
Set the environment variable AMQP_URL if RabbitMQ is not on this machine.
"""

import os
import signal
import sys
import time

import pika

AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"
MAX_N = 20_000  # fib(20_000) has 4,180 digits; Python's str() and int() refuse more than 4,300


def fib(n: int) -> int:
    """Return the nth Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def make_reply(request: bytes) -> tuple[str, str]:
    """Return the type ("result" or "error") and the body of the reply to a request."""
    # Check the length before int(), which raises ValueError if a number is very long.
    if not request.isdigit() or len(request) > len(str(MAX_N)) or int(request) > MAX_N:
        return "error", f"n must be a number from 0 to {MAX_N}, not {request[:40]!r}"
    n = int(request)
    print(f" [.] fib({n})", flush=True)
    # If fib took minutes, RabbitMQ would think this server dead: see "Long work" in the README.
    try:
        return "result", str(fib(n))
    except Exception as error:  # fib cannot fail here, but your own function may
        return "error", f"{type(error).__name__}: {error}"


def on_request(channel, method, props, body):
    """Reply to one request, then acknowledge it. Reject a request without reply_to."""
    if not props.reply_to:
        print(" [!] Rejected a request without reply_to", file=sys.stderr)
        channel.basic_reject(delivery_tag=method.delivery_tag, requeue=False)  # drop it
        return
    reply_type, reply = make_reply(body)
    if reply_type == "error":
        print(f" [!] {reply}", file=sys.stderr)
    channel.basic_publish(
        exchange="",  # the default exchange: it delivers to the queue named by routing_key
        routing_key=props.reply_to,
        properties=pika.BasicProperties(
            correlation_id=props.correlation_id,
            type=reply_type,
            content_type="text/plain",
        ),
        body=reply.encode(errors="backslashreplace"),  # UTF-8 cannot encode lone surrogates
    )
    # Acknowledge last: if this server dies before it replies, another server gets the request.
    channel.basic_ack(delivery_tag=method.delivery_tag)  # the number of this delivery


def serve(parameters: pika.URLParameters) -> None:
    """Answer requests until rpc_queue is deleted. Raises pika's exceptions or OSError."""
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()  # a session within the connection
        try:
            # Create rpc_queue unless it exists. A durable queue survives a restart of RabbitMQ.
            # By default, RabbitMQ 4.3 requires shared queues to be durable.
            channel.queue_declare(queue="rpc_queue", durable=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            # rpc_queue already exists with other settings, or this user lacks permission.
            print(f" [!] Cannot declare rpc_queue; continuing anyway: {error!r}", file=sys.stderr)
            channel = connection.channel()  # RabbitMQ closed the first channel when it refused
        channel.basic_qos(prefetch_count=1)  # hold one unacknowledged request at a time
        channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
        print(" [x] Awaiting RPC requests", flush=True)
        channel.start_consuming()  # blocks; pika calls on_request for each request


def main() -> None:
    """Serve forever. After any failure, even a refused login, print it and retry in a second."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the server without a traceback
    try:
        parameters = pika.URLParameters(AMQP_URL)
    except Exception as error:  # print only its type: its text may contain the password
        problem = f"Invalid AMQP_URL ({type(error).__name__})"
        sys.exit(f" [!] {problem}; use amqp://user:password@host:5672/%2F")
    while True:
        try:
            serve(parameters)
            problem = "RabbitMQ stopped delivering requests (was rpc_queue deleted?)"
        except Exception as error:
            problem = repr(error)
        print(f" [!] {problem}; reconnecting in a second", file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    main()
