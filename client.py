"""Get Fibonacci numbers from a server over RabbitMQ, with a remote procedure call (RPC).

The client publishes a request, the number n, to the queue rpc_queue. The request's reply_to names
the client's own callback queue, and its correlation_id is new for each call. The server publishes
its reply to the callback queue, with the same correlation_id, so that the client can recognize it.

The pattern is in connect(), call(), attempt() and on_response(). keep_trying() repeats attempt(),
and the rest handles failures. Run ``python client.py 30`` while server.py runs, or use the class in
a program of your own: ``with FibonacciRpcClient() as client: print(client.call(30))``.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
import uuid

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException

# The default names the user guest, the password guest and the virtual host "/", written %2F.
AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"

log = logging.getLogger(__name__)  # its warnings go to standard error, unless you configure logging


class FibonacciRpcClient:
    """Gets Fibonacci numbers from a server. Use each client in one thread at a time."""

    def __init__(self, url: str = AMQP_URL, timeout: float = 10.0) -> None:
        """Connect to RabbitMQ, within timeout seconds for each of its addresses.

        A call takes at most timeout seconds. Both can take two minutes longer if RabbitMQ hangs
        while a connection opens or closes. Raises ValueError if url or timeout is invalid, and
        ConnectionError or pika.exceptions.AMQPError if connecting fails.
        """
        if not 0 < timeout < 1_000_000:  # RabbitMQ limits the expiration of requests
            raise ValueError("timeout must be more than 0 and less than 1,000,000 seconds")
        self.timeout = timeout
        try:
            self.parameters = pika.URLParameters(url)
        except Exception:  # omit pika's message, which may contain the password
            raise ValueError("Invalid URL; use amqp://user:password@host:5672/%2F") from None
        # Without this, close() would wait while RabbitMQ is short of memory or disk space.
        self.parameters.blocked_connection_timeout = timeout
        self.correlation_id: str | None = None  # of the current call
        self.reply: tuple[str | None, bytes] | None = None  # type and body of the reply to it
        self.returned = False  # whether RabbitMQ has returned the current request
        try:
            self.connect(time.monotonic() + timeout)
        except pika.exceptions.AMQPError:  # connected, but RabbitMQ refused the callback queue
            self.close()
            raise

    def connect(self, deadline: float) -> None:
        """Open a connection and a channel, and consume from a new callback queue."""
        self.open_connection(deadline)
        self.channel = self.connection.channel()  # a session within the connection
        # queue="" lets RabbitMQ choose a name. exclusive=True reserves the queue for this
        # connection, but anyone may publish to it. It is deleted when the connection closes.
        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = result.method.queue
        self.channel.basic_consume(
            queue=self.callback_queue,
            on_message_callback=self.on_response,
            auto_ack=True,  # acknowledge on arrival: nobody else could use the reply
        )
        self.channel.add_on_return_callback(self.on_return)  # called if there is no rpc_queue

    def call(self, n: int) -> int:
        """Return fib(n), computed by a server.

        Calls attempt() again after failures, so fib may run several times. Raises RpcError if the
        reply is an error, and TimeoutError if none arrives in time (fib may have run all the same).
        """
        self.correlation_id = str(uuid.uuid4())
        self.reply = None
        return self.keep_trying(str(n), time.monotonic() + self.timeout)

    def attempt(self, request: str, deadline: float) -> int:
        """Publish the request, and return the reply. Raises when time is up or none can come."""
        self.channel.basic_publish(
            exchange="",  # the default exchange: it delivers to the queue named by routing_key
            routing_key="rpc_queue",
            properties=pika.BasicProperties(
                reply_to=self.callback_queue,
                correlation_id=self.correlation_id,
                content_type="text/plain",
                expiration=str(int(seconds_until(deadline) * 1000)),  # ms until RabbitMQ drops it
            ),
            body=request.encode(),
            mandatory=True,  # have RabbitMQ return the request if there is no rpc_queue
        )
        while self.reply is None:
            self.raise_if_hopeless(deadline)
            # Here pika waits for a message, calls on_response or on_return, and sends the
            # heartbeats that tell RabbitMQ that this client is alive.
            self.connection.process_data_events(time_limit=seconds_until(deadline))
        return parse_reply(*self.reply)

    def on_response(self, channel, method, props, body):
        """Keep the first reply to the current call. Ignore late replies to earlier calls."""
        if props.correlation_id == self.correlation_id and self.reply is None:
            self.reply = (props.type, body)

    def keep_trying(self, request: str, deadline: float) -> int:
        """Repeat attempt() until one succeeds. Raises TimeoutError at the deadline."""
        pause = 0.1
        while True:
            self.returned = False
            try:
                if not self.connection.is_open:
                    self.connect(deadline)
                return self.attempt(request, deadline)
            except (pika.exceptions.AMQPError, ConnectionError) as error:  # TimeoutError passes
                log.warning("No reply yet: %s", error)
                if not self.returned:  # a returned request leaves the connection usable
                    self.close()
                time.sleep(min(pause, seconds_until(deadline)))
                pause = min(1.0, 2 * pause)
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"No reply within {self.timeout:g} s: {error}") from error

    def raise_if_hopeless(self, deadline: float) -> None:
        """Raise TimeoutError at the deadline, and ConnectionError if no reply can arrive."""
        if self.returned:
            raise ConnectionError("rpc_queue does not exist; start server.py")
        if not self.channel.consumer_tags:  # empty once RabbitMQ has cancelled on_response
            raise ConnectionError("RabbitMQ closed the channel or deleted the callback queue")
        if time.monotonic() >= deadline:
            problem = "is server.py running, and is RabbitMQ healthy?"
            raise TimeoutError(f"No reply within {self.timeout:g} s: {problem}")

    def on_return(self, channel, method, props, body):
        """Note that RabbitMQ has returned the request (see mandatory=True above)."""
        if props.correlation_id == self.correlation_id:
            self.returned = True

    def open_connection(self, deadline: float) -> None:
        """Connect to RabbitMQ, or raise a ConnectionError that names its host and port."""
        self.parameters.stack_timeout = seconds_until(deadline)  # for each address of the host
        try:
            self.connection = pika.BlockingConnection(self.parameters)
        # At stack_timeout, pika may raise an AMQPConnectorException, which is not an AMQPError.
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            problem = f"No connection to {self.parameters.host}:{self.parameters.port}: {error!r}"
            raise ConnectionError(f"{problem}; has RabbitMQ started, is the URL right?") from error

    def close(self) -> None:
        """Close the connection. If RabbitMQ hangs, this takes one to two minutes."""
        with contextlib.suppress(pika.exceptions.AMQPError):  # it may be closed already
            self.connection.close()

    def __enter__(self) -> "FibonacciRpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class RpcError(Exception):
    """The server replied with an error, or its reply was not a number."""


def parse_reply(reply_type: str | None, body: bytes) -> int:
    """Return the number in a reply. Raises RpcError if it is an error or not a number."""
    if reply_type != "error":
        with contextlib.suppress(ValueError):
            return int(body)
    raise RpcError(f"The server replied {body[:200].decode(errors='replace')!r}")


def seconds_until(deadline: float) -> float:
    """Return the seconds until deadline, but at least 0.001: pika rejects a stack_timeout of 0."""
    return max(0.001, deadline - time.monotonic())


def main() -> None:
    """Print fib(n) for the n given on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the client without a traceback
    parser = argparse.ArgumentParser(description="Get fib(n) from an RPC server over RabbitMQ.")
    parser.add_argument("n", type=int, nargs="?", default=30, help="default: 30")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="default: 10")
    args = parser.parse_args()
    print(f" [x] Requesting fib({args.n})", flush=True)
    try:
        client = FibonacciRpcClient(timeout=args.timeout)
        # pika calls this after a second, if call() still waits then.
        client.connection.call_later(1, lambda: log.warning("No reply yet: is server.py running?"))
        print(f" [.] Got {client.call(args.n)}", flush=True)
        client.close()  # not after a failure, as "with" would: close() can hang
    except (RpcError, ValueError, OSError, pika.exceptions.AMQPError) as error:
        sys.exit(f" [!] {error}")


if __name__ == "__main__":
    main()
