"""Call fib(n) over RabbitMQ: n goes to rpc_queue, the reply comes back on a callback queue.

Run ``python client.py 30`` beside server.py, or copy FibonacciRpcClient into your own program.
AMQP_URL names the broker; several URLs, separated by white space, are tried in order.
"""

import argparse
import contextlib
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, wait

import pika

AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"


class RpcError(Exception):
    """The server replied with an error, or with something that is no number."""


class FibonacciRpcClient(contextlib.AbstractContextManager):
    """Has fib(n) computed by a server of rpc_queue. One client belongs to one thread."""

    def __init__(self, url: str = AMQP_URL, timeout: float = 10.0) -> None:
        """Connect to the first broker of url that answers; every call may take timeout seconds.

        Raises ValueError for a malformed url, and pika's own exceptions, OSError or TimeoutError
        when no broker lets us in.
        """
        try:
            self.nodes = [pika.URLParameters(node) for node in url.split() or AMQP_URL.split()]
        except Exception:  # of many types, and some quote the password
            raise ValueError("AMQP_URL is not like amqp://user:password@host:5672/%2F") from None
        for node in self.nodes:  # see RabbitMQ's "Blocked Connection Notifications"
            node.blocked_connection_timeout = timeout
        self.timeout = timeout
        self.connect(timeout)

    def connect(self, seconds):
        for node in self.nodes:  # in a thread, as pika may wait for minutes, until heartbeats fail
            opening = ThreadPoolExecutor(1).submit(self.open_callback_queue, node)
            if wait([opening], seconds / len(self.nodes)).done and not opening.exception():
                self.connection, self.channel, self.callback_queue = opening.result()
                return
        raise opening.exception() if opening.done() else TimeoutError("No answer; check RabbitMQ")

    def open_callback_queue(self, node):
        connection = pika.BlockingConnection(node)
        channel = connection.channel()
        callback_queue = channel.queue_declare(queue="", exclusive=True).method.queue
        channel.basic_consume(callback_queue, self.on_response, auto_ack=True)
        channel.add_on_return_callback(self.on_return)
        return connection, channel, callback_queue

    def on_response(self, channel, method, props, body):
        if props.correlation_id == self.correlation_id:  # others are late, or not for us
            self.reply = self.reply or (props.type, body)

    def on_return(self, channel, method, props, body):
        if props.correlation_id == self.correlation_id:
            raise RpcError("no server has declared rpc_queue; start server.py")

    def call(self, n: int) -> int:
        """Return fib(n). Raises RpcError for an error reply, TimeoutError when none came in time.

        Until then, a request that was returned or lost is sent again: no harm, since fib is pure.
        """
        request, sent_on, problem = str(n), None, ""
        self.correlation_id, self.reply = str(uuid.uuid4()), None
        deadline = time.monotonic() + self.timeout
        while self.reply is None and (left := deadline - time.monotonic()) > 0:
            try:
                if not (self.channel.is_open and self.channel.consumer_tags):
                    ThreadPoolExecutor(1).submit(self.connection.close)  # and do not wait for it
                    self.connect(left)
                elif sent_on is not self.channel:  # not sent yet, or lost with its channel
                    props = pika.BasicProperties(content_type="text/plain")
                    props.reply_to, props.correlation_id = self.callback_queue, self.correlation_id
                    props.expiration = str(int(left * 1000))  # in ms
                    self.channel.basic_publish("", "rpc_queue", request, props, mandatory=True)
                    sent_on, problem = self.channel, "rpc_queue exists; is a server running?"
                else:
                    self.connection.process_data_events(time_limit=left)  # heartbeats included
            except Exception as error:
                sent_on = None
                problem = str(error) if isinstance(error, RpcError) else f"no connection, {error!r}"
                time.sleep(max(0, min(0.2, deadline - time.monotonic())))
        if self.reply is None:
            raise TimeoutError(f"No reply within {self.timeout:g} s: {problem}")
        kind, body = self.reply
        if kind == "error" or not body.isdigit() or len(body) > 4300:  # as int() does
            raise RpcError(f"The server replied {body[:200].decode(errors='replace')!a}")
        return int(body)

    def close(self) -> None:
        """Close the connection; gives up after a second, as where RabbitMQ blocks publishers."""
        with contextlib.suppress(Exception):
            ThreadPoolExecutor(1).submit(self.connection.close).result(1)

    def __exit__(self, *exception):
        self.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Get fib(n) from an RPC server over RabbitMQ.")
    parser.add_argument("n", type=int, nargs="?", default=30, help="0 to 20000 (default: 30)")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="default: 10")
    args = parser.parse_args()
    if not 0 < args.timeout < 1e6:
        parser.error("--timeout must be more than 0 and less than 1,000,000 seconds")
    try:
        client = FibonacciRpcClient(timeout=args.timeout)
        print(f" [x] Requesting fib({args.n})", flush=True)
        print(f" [.] Got {client.call(args.n)}", flush=True)
        client.close()
        return 0
    except KeyboardInterrupt:
        return 130
    except (RpcError, TimeoutError, ValueError) as error:
        print(f" [!] {error}", file=sys.stderr)
    except Exception as error:
        print(f" [!] {error!r}: is RabbitMQ running, and AMQP_URL right?", file=sys.stderr)
    return 1


if __name__ == "__main__":
    os._exit(main())  # sys.exit() would wait for threads in which pika hangs
