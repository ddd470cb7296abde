"""Get Fibonacci numbers from server.py over RabbitMQ: a remote procedure call (RPC).

    client.py  --- 30 ------->  rpc_queue       --- 30 ------->  server.py
               reply_to: the callback queue
               correlation_id: new for each request
    client.py  <-- 832040 ----  callback queue  <-- 832040 ----  server.py
               correlation_id: that of the request
               type: "result" or "error"

To learn the pattern, read only RpcRequester. To use it, import FibonacciRpcClient, whose call()
tries again after failures: ``with FibonacciRpcClient() as client: print(client.call(30))``.
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
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException  # not an AMQPError

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost")  # user:password@host

log = logging.getLogger(__name__)  # its warnings go to standard error, unless you configure logging


class RpcError(Exception):
    """The server replied with an error."""


class RpcRequester:
    """Sends requests, as in RpcRequester(pika.BlockingConnection()).request(b"30", timeout=10)."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        """Create the callback queue, and consume from it."""
        self.correlation_id = ""  # of the current request
        self.outcome: bytes | Exception | None = None  # what request() returns or raises
        self.connection = connection
        self.channel = connection.channel()  # commands to RabbitMQ go through a channel
        # "": RabbitMQ picks a name. exclusive: only for this connection, and deleted with it.
        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = str(result.method.queue)
        self.channel.basic_consume(
            queue=self.callback_queue,
            on_message_callback=self.on_reply,
            auto_ack=True,  # nobody else could use the reply, so it needs no acknowledgement
        )
        self.channel.add_on_return_callback(self.on_return)

    def request(self, body: bytes, timeout: float) -> bytes:
        """Publish a request, and return the body of its reply.

        Raises RpcError if the reply is an error, TimeoutError if none arrives within timeout
        seconds, and ConnectionError or AMQPError if none can come.
        """
        deadline = time.monotonic() + timeout
        self.correlation_id = str(uuid.uuid4())
        self.outcome = None
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
        while self.outcome is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("No reply in time: is server.py up?")
            if not self.can_receive():
                raise ConnectionError("Channel closed or callback queue gone; see RabbitMQ's log")
            # Here pika waits for an event, calls on_reply() or on_return(), and sends heartbeats.
            self.connection.process_data_events(time_limit=remaining)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def on_reply(self, channel, method, props, body):
        """Keep the reply to the current request. Ignore late replies to earlier ones."""
        if props.correlation_id == self.correlation_id:
            if props.type == "error":
                self.outcome = RpcError(f"The server replied {body.decode(errors='replace')}")
            else:
                self.outcome = body

    def on_return(self, channel, method, props, body):
        """Fail the current request: RabbitMQ has sent it back."""
        if props.correlation_id == self.correlation_id:
            self.outcome = ConnectionError("rpc_queue does not exist; start server.py")

    def can_receive(self) -> bool:
        """Return whether the connection is open, and still consumes from the callback queue."""
        return self.connection.is_open and bool(self.channel.consumer_tags)


class FibonacciRpcClient:
    """Gets Fibonacci numbers from a server. Use each client in one thread of one process."""

    def __init__(self, url: str = AMQP_URL, timeout: float = 5.0) -> None:
        """Connect to RabbitMQ. Raises ValueError for an invalid argument, or ConnectionError.

        timeout limits each call(), in seconds. Only reconnecting may take longer: timeout for each
        IP address of the host, and minutes if RabbitMQ or the name server hangs.
        """
        if not 0 < timeout < 1_000_000:  # within RabbitMQ's limit on expiration
            raise ValueError("timeout must be more than 0 and less than 1,000,000 seconds")
        self.timeout = timeout
        try:
            self.parameters = pika.URLParameters(url)
        except Exception as error:  # omit the message, which may contain the password
            example = "amqp://user:p%23ss@host:5672/vhost?heartbeat=60"
            raise ValueError(f"Invalid URL ({type(error).__name__}); use {example}") from None
        self.parameters.blocked_connection_timeout = timeout  # blocked: RabbitMQ lacks memory, say
        if sys.platform == "linux":  # if the network swallows a request, fail soon, and try again
            options = {"TCP_USER_TIMEOUT": max(2_000, int(timeout * 500))}  # ms
            self.parameters.tcp_options = options | (self.parameters.tcp_options or {})
        self.connection: pika.BlockingConnection | None = None
        self.connect(timeout)

    def connect(self, timeout: float) -> None:
        """Open a connection, with a callback queue. Raises ConnectionError on a failure."""
        self.parameters.stack_timeout = timeout  # for each IP address of the host
        try:
            self.connection = pika.BlockingConnection(self.parameters)
            self.rpc = RpcRequester(self.connection)
        except (pika.exceptions.AMQPError, AMQPConnectorException, OSError) as error:
            self.close()
            address = f"{self.parameters.host}:{self.parameters.port}"
            raise ConnectionError(f"RabbitMQ at {address}: {error!r}") from error

    def call(self, n: int) -> int:
        """Return fib(n), computed by a server.

        Reconnects and sends the request again after a failure, so fib may run several times. Raises
        RpcError if the reply is an error, ValueError if the reply is not a number, and TimeoutError
        if no reply arrives in time.
        """
        deadline = time.monotonic() + self.timeout
        reason = "connecting took too long"
        pause = 0.0  # the first retry is at once: a connection may break unnoticed while idle
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                if self.rpc.can_receive():
                    return int(self.rpc.request(str(n).encode(), timeout=remaining))
                self.close()
                self.connect(timeout=remaining)
            except (pika.exceptions.AMQPError, ConnectionError) as error:
                log.warning("No reply yet: %s", error)
                reason = str(error)
                time.sleep(min(pause, max(0, deadline - time.monotonic())))
                pause = 1.0
        raise TimeoutError(f"No reply in time: {reason}")

    def close(self) -> None:
        """Close the connection; call() opens a new one. Takes minutes if RabbitMQ hangs."""
        if self.connection and self.connection.is_open:
            with contextlib.suppress(pika.exceptions.AMQPError):  # it may break while closing
                self.connection.close()

    def __enter__(self) -> "FibonacciRpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def main() -> None:
    """Print fib(n) for the n given on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the client without a traceback
    parser = argparse.ArgumentParser(description="Get fib(n) from server.py over RabbitMQ.")
    parser.add_argument("n", type=int, nargs="?", default=30, help="which number (default: 30)")
    parser.add_argument("--timeout", type=float, default=5, help="in seconds (default: 5)")
    args = parser.parse_args()
    try:
        print(f" [x] Requesting fib({args.n})", flush=True)
        client = FibonacciRpcClient(timeout=args.timeout)
        print(f" [.] Got {client.call(args.n)}", flush=True)
        client.close()  # not after an error: this process ends anyway, and close() may take minutes
    except (RpcError, ValueError, OSError) as error:  # TimeoutError, ConnectionError are OSErrors
        sys.exit(f" [!] {error}")


if __name__ == "__main__":
    main()
