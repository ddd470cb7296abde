"""Get Fibonacci numbers from server.py over RabbitMQ: a remote procedure call (RPC).

    client.py  --- 30 ------->  rpc_queue       --- 30 ------->  server.py
               reply_to: the callback queue
               correlation_id: new for each request
    client.py  <-- 832040 ----  callback queue  <-- 832040 ----  server.py
               correlation_id: that of the request

To learn the pattern, read only RpcConnection. FibonacciRpcClient tries again after failures:
``with FibonacciRpcClient() as client: print(client.call(30))``.
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
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # not an AMQPError

# The default names the user guest, the password guest and the virtual host "/", written %2F.
AMQP_URL = os.environ.get("AMQP_URL") or "amqp://guest:guest@localhost:5672/%2F"

log = logging.getLogger(__name__)  # its warnings go to standard error, unless you configure logging


class RpcConnection:
    """Sends requests, as in RpcConnection(pika.BlockingConnection()).request(b"30", timeout=10)."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        """Create the callback queue, and consume from it."""
        self.correlation_id = ""  # of the current request
        self.reply: tuple[str | None, bytes] | None = None  # type and body of the reply to it
        self.returned = False  # whether RabbitMQ has sent it back: see mandatory=True below
        self.connection = connection
        self.channel = connection.channel()  # commands to RabbitMQ go through a channel
        # RabbitMQ chooses a name. Only this connection may consume; the queue ends with it.
        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = result.method.queue
        self.channel.basic_consume(
            queue=self.callback_queue,
            on_message_callback=self.on_reply,
            auto_ack=True,  # acknowledge on arrival: nobody else could use the reply
        )
        self.channel.add_on_return_callback(self.on_return)

    def request(self, body: bytes, timeout: float) -> tuple[str | None, bytes] | None:
        """Publish a request, and return the type and body of its reply.

        Returns None after timeout seconds. Raises ConnectionError or AMQPError if none can come.
        """
        deadline = time.monotonic() + timeout
        self.correlation_id = str(uuid.uuid4())
        self.reply = None
        self.returned = False
        self.channel.basic_publish(
            exchange="",  # the default exchange: it delivers to the queue named by routing_key
            routing_key="rpc_queue",
            properties=pika.BasicProperties(
                reply_to=self.callback_queue,
                correlation_id=self.correlation_id,
                expiration=str(int(timeout * 1000)),  # ms until RabbitMQ drops a waiting request
            ),
            body=body,
            mandatory=True,  # if rpc_queue does not exist, send the request back, to on_return()
        )
        while self.reply is None and time.monotonic() < deadline:
            # Here pika waits, calls on_reply() or on_return(), and sends heartbeats to RabbitMQ.
            self.connection.process_data_events(time_limit=seconds_until(deadline))
            if self.returned:
                raise ConnectionError("rpc_queue does not exist; start server.py")
            if not self.channel.consumer_tags:  # empty once RabbitMQ has cancelled on_reply()
                raise ConnectionError("RabbitMQ closed the channel or deleted the callback queue")
        return self.reply

    def on_reply(self, channel, method, props, body):
        """Keep the first reply to the current request. Ignore late replies to earlier ones."""
        if props.correlation_id == self.correlation_id and self.reply is None:
            self.reply = (props.type, body)

    def on_return(self, channel, method, props, body):
        """Note that RabbitMQ has sent the current request back."""
        if props.correlation_id == self.correlation_id:
            self.returned = True


class RpcError(Exception):
    """The server replied with an error, or its reply was not a number."""


class FibonacciRpcClient:
    """Gets Fibonacci numbers from a server. Use each client in one thread at a time."""

    def __init__(self, url: str = AMQP_URL, timeout: float = 10.0) -> None:
        """Connect to RabbitMQ.

        timeout, in seconds, limits each call(), and connecting to each IP address of the host. Both
        can take two minutes more if RabbitMQ hangs while a connection opens or closes. Raises
        ValueError if an argument is invalid, and ConnectionError if connecting fails.
        """
        if not 0 < timeout < 1_000_000:  # RabbitMQ limits the expiration of requests
            raise ValueError("timeout must be more than 0 and less than 1,000,000 seconds")
        self.timeout = timeout
        try:
            self.parameters = pika.URLParameters(url)
        except Exception:  # omit pika's message, which may contain the password
            problem = "Invalid URL; use amqp://user:p%23ss@host:5672/%2F, percent-encoded"
            raise ValueError(problem) from None
        self.parameters.blocked_connection_timeout = timeout  # if RabbitMQ lacks memory or disk
        self.connection: pika.BlockingConnection | None = None
        self.connect(timeout)

    def connect(self, timeout: float) -> None:
        """Connect, with a callback queue, unless connected. Raises ConnectionError on a failure."""
        if self.connection and self.connection.is_open:
            return
        self.parameters.stack_timeout = timeout  # for each address of the host
        try:
            self.connection = pika.BlockingConnection(self.parameters)
            self.rpc = RpcConnection(self.connection)
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            self.close()
            address = f"{self.parameters.host}:{self.parameters.port}"
            raise ConnectionError(f"No connection to RabbitMQ at {address}: {error!r}") from error

    def call(self, n: int) -> int:
        """Return fib(n), computed by a server.

        Connects and sends the request again after a failure, so fib may run several times. Raises
        RpcError if the reply is an error, and TimeoutError if none arrives in time.
        """
        deadline = time.monotonic() + self.timeout
        pause = 0.0
        while True:
            reason = "is server.py up?"
            try:
                self.connect(seconds_until(deadline))
                reply = self.rpc.request(str(n).encode(), seconds_until(deadline))
                if reply:
                    return parse_reply(*reply)
            except (pika.exceptions.AMQPError, ConnectionError) as error:
                reason = str(error) or repr(error)
                log.warning("No reply yet: %s", reason)
                if not self.rpc.returned:  # after a return, the connection is still good
                    self.close()
                time.sleep(min(pause, seconds_until(deadline)))
                pause = min(1.0, max(0.1, 2 * pause))
            if time.monotonic() >= deadline:
                raise TimeoutError(f"No reply within {self.timeout:g} s: {reason}")

    def close(self) -> None:
        """Close the connection: takes minutes if RabbitMQ hangs, so main() skips it on errors."""
        if self.connection and self.connection.is_open:
            with contextlib.suppress(pika.exceptions.AMQPError):  # it may break meanwhile
                self.connection.close()

    def __enter__(self) -> "FibonacciRpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def parse_reply(reply_type: str | None, body: bytes) -> int:
    """Return the number in a reply. Raises RpcError if it is an error or not a number."""
    if reply_type != "error":
        with contextlib.suppress(ValueError):
            return int(body)
    raise RpcError(f"The server replied {body[:200].decode(errors='replace')!r}")


def seconds_until(deadline: float) -> float:
    """Return the seconds until deadline, but at least 0.001: pika refuses a stack_timeout of 0."""
    return max(0.001, deadline - time.monotonic())


def main() -> None:
    """Print fib(n) for the n given on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the client without a traceback
    parser = argparse.ArgumentParser(description="Get fib(n) from server.py over RabbitMQ.")
    parser.add_argument("n", type=int, nargs="?", default=30, help="default: 30")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="default: 10")
    args = parser.parse_args()
    try:
        print(f" [x] Requesting fib({args.n})", flush=True)
        client = FibonacciRpcClient(timeout=args.timeout)
        # pika calls this after a second, if call() still waits then.
        client.rpc.connection.call_later(1, lambda: log.warning("No reply yet: is server.py up?"))
        print(f" [.] Got {client.call(args.n)}", flush=True)
        client.close()
    except (RpcError, ValueError, OSError) as error:  # TimeoutError, ConnectionError are OSErrors
        sys.exit(f" [!] {error}")


if __name__ == "__main__":
    main()
