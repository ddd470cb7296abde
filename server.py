"""Answer RPC requests over RabbitMQ: n arrives on rpc_queue, fib(n) goes back to the caller.

Start any number of servers; each request goes to one that is free. AMQP_URL names the broker;
several URLs, separated by white space, are tried in turn.
"""

import itertools
import os
import signal
import sys
import time
from contextlib import suppress

import pika

AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"
MAX_N = 20_000  # Python prints no integer of more than 4,300 digits; fib(20_000) has 4,180


def fib(n: int) -> int:
    """Return the nth Fibonacci number; raises ValueError unless n is 0 to MAX_N."""
    if not 0 <= n <= MAX_N:
        raise ValueError(f"n must be 0 to {MAX_N}, not {n}")
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def on_request(channel, method, props, body):
    if not props.reply_to:
        print(" [!] Rejected a request without reply_to", file=sys.stderr)
        channel.basic_reject(method.delivery_tag, requeue=False)
        return
    try:
        if not body.isdigit() or len(body) > 5:  # int() takes " +1_0", and long over a long body
            raise ValueError(f"n must be 0 to {MAX_N} in up to 5 ASCII digits, not {body[:40]!r}")
        print(f" [.] fib({int(body)})", flush=True)
        kind, reply = "result", str(fib(int(body)))
    except Exception as error:
        kind, reply = "error", f"{type(error).__name__}: {error}"
        print(f" [!] {reply}", file=sys.stderr)
    reply_props = pika.BasicProperties("text/plain", correlation_id=props.correlation_id, type=kind)
    direct = "amq.rabbitmq.reply-to" in str(props.reply_to)  # see RabbitMQ's "Direct Reply-To"
    if direct:  # RabbitMQ 3.10 and 4.0 hang up on us for a forged one: once, but not again
        channel.basic_ack(method.delivery_tag)
    channel.basic_publish("", routing_key=props.reply_to, body=reply, properties=reply_props)
    if not direct:  # otherwise last, so that a request outlives its server
        channel.basic_ack(method.delivery_tag)


class TolerantProperties(pika.BasicProperties):
    def decode(self, encoded, offset=0):
        with suppress(Exception):  # pika 1.4 drops the connection for a time past the year 9999
            super().decode(encoded, offset)
        return self


def serve(node: pika.URLParameters) -> None:
    with pika.BlockingConnection(node) as connection:
        with suppress(pika.exceptions.ChannelClosedByBroker), connection.channel() as channel:
            channel.queue_declare(queue="rpc_queue", durable=True)
        channel = connection.channel()  # an rpc_queue with other settings is consumed as it is
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume(queue="rpc_queue", on_message_callback=on_request)
        print(" [x] Awaiting RPC requests", flush=True)
        channel.start_consuming()
        raise pika.exceptions.ConsumerCancelled  # start_consuming() ends if rpc_queue is deleted


def main() -> None:
    pika.spec.props[pika.BasicProperties.INDEX] = TolerantProperties
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: os._exit(0))  # at once, even from inside pika
    try:
        nodes = [pika.URLParameters(url) for url in AMQP_URL.split()]
    except Exception:  # of many types, and some quote the password
        sys.exit(" [!] AMQP_URL is malformed; write amqp://user:password@host:5672/%2F")
    for node in itertools.cycle(nodes):
        try:
            serve(node)
        except Exception as error:
            if any(sign in str(error) for sign in ("(403)", "(530)", "CERTIFICATE_VERIFY")):
                sys.exit(f" [!] RabbitMQ refused: {error}. Check AMQP_URL.")
            print(f" [!] {error!r}; connecting again in a second", file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    main()
