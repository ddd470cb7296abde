"""Ask a server for Fibonacci numbers over RabbitMQ.

The client publishes n to the queue rpc_queue and waits for the reply on its own callback queue.
Run ``python client.py 30`` while server.py runs, or use the class in a program of your own:
``with FibonacciRpcClient() as client: print(client.call(30))``.
Set the environment variable AMQP_URL if RabbitMQ is not on this machine.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "").strip() or "amqp://guest:guest@localhost:5672/%2F"


class RpcError(Exception):
    """The server replied with an error, or its reply was not a number."""


def seconds_until(deadline: float) -> float:
    """Return the seconds until deadline, but at least 0.001: pika rejects a stack_timeout of 0."""
    return max(0.001, deadline - time.monotonic())


def parse_reply(reply_type: str | None, body: bytes) -> int:
    """Return the number in a reply. Raises RpcError if it is an error or not a number."""
    if reply_type == "error" or not body.isdigit():
        raise RpcError(f"The server replied {body[:200].decode(errors='replace')!r}")
    return int(body)


class FibonacciRpcClient:
    """Gets Fibonacci numbers from a server. Use each client in one thread only."""

    def __init__(self, url: str = AMQP_URL, timeout: float = 10.0) -> None:
        """Connect to RabbitMQ. Connecting and each call take at most timeout seconds.

        In a few cases they take longer: see "Known limits" in the README. Raises ValueError if url
        or timeout is invalid, and pika's exceptions or OSError if connecting fails.
        """
        if not 0 < timeout < 1_000_000:  # RabbitMQ limits the expiration of requests
            raise ValueError("timeout must be more than 0 and less than 1,000,000 seconds")
        try:
            self.parameters = pika.URLParameters(url)
        except Exception as error:  # show only its type: its text may contain the password
            problem = f"Invalid AMQP_URL ({type(error).__name__})"
            raise ValueError(f"{problem}; use amqp://user:password@host:5672/%2F") from None
        # When RabbitMQ runs short of memory or disk space, it stops reading from publishers, and
        # answers no close(). This timeout makes pika drop the connection then.
        self.parameters.blocked_connection_timeout = timeout
        self.timeout = timeout
        self.correlation_id: str | None = None
        self.reply: tuple[str | None, bytes] | None = None  # (type, body); None until it arrives
        self.problem = ""  # why the current attempt gets no reply, once that is known
        self.connect(time.monotonic() + timeout)

    def connect(self, deadline: float) -> None:
        """Open a connection and a channel, and consume from a new callback queue."""
        self.parameters.stack_timeout = seconds_until(deadline)  # applies only to the next line
        self.connection = pika.BlockingConnection(self.parameters)
        self.channel = self.connection.channel()
        # queue="" lets RabbitMQ choose a name; exclusive=True deletes the queue on disconnecting.
        result = self.channel.queue_declare(queue="", exclusive=True)
        self.callback_queue = result.method.queue
        self.channel.basic_consume(
            queue=self.callback_queue,
            on_message_callback=self.on_response,
            auto_ack=True,  # acknowledge on arrival: nobody else could use the reply
        )
        self.channel.add_on_return_callback(self.on_return)

    def on_response(self, channel, method, props, body):
        """Store the first reply to the current request. Ignore every other message."""
        if props.correlation_id == self.correlation_id and self.reply is None:
            self.reply = (props.type, body)

    def on_return(self, channel, method, props, body):
        """Record why RabbitMQ has returned the current request (see mandatory=True below)."""
        if props.correlation_id == self.correlation_id:
            self.problem = "rpc_queue does not exist; start server.py"

    def call(self, n: int) -> int:
        """Ask a server to compute fib(n), and return the result.

        Raises RpcError if the reply is an error, and TimeoutError if no reply arrives in time.
        Sends the request again if RabbitMQ returns it or the connection fails. After a failure, fib
        may thus run twice: see "Work that must not run twice" in the README.
        """
        deadline = time.monotonic() + self.timeout
        request = str(n).encode()
        self.correlation_id = str(uuid.uuid4())
        self.reply = None
        # An attempt ends with the reply, a returned request, an exception or the deadline.
        while time.monotonic() < deadline:
            self.problem = ""  # an earlier attempt may have set it
            try:
                if not self.connection.is_open:
                    self.connect(deadline)
                self.send_request(request, deadline)
                self.wait_for_reply(deadline)
            except Exception as error:  # AMQPError would miss AMQPConnectorStackTimeout
                self.problem = f"{error!r}; is RabbitMQ running, and what does its log say?"
                self.close()  # so that the next attempt connects again
            if self.reply is not None:
                return parse_reply(*self.reply)
            time.sleep(min(0.2, seconds_until(deadline)))  # pause before the next attempt
        reason = self.problem or "is server.py running, and is RabbitMQ healthy?"
        raise TimeoutError(f"No reply within {self.timeout:g} s: {reason}")

    def send_request(self, request: bytes, deadline: float) -> None:
        """Publish a request to rpc_queue."""
        self.channel.basic_publish(
            exchange="",  # the default exchange: it delivers to the queue named by routing_key
            routing_key="rpc_queue",
            properties=pika.BasicProperties(
                reply_to=self.callback_queue,
                correlation_id=self.correlation_id,
                content_type="text/plain",
                # Milliseconds until RabbitMQ drops the request, if no server has taken it.
                expiration=str(int(seconds_until(deadline) * 1000)),
            ),
            body=request,
            mandatory=True,  # RabbitMQ returns the request if there is no rpc_queue
        )

    def wait_for_reply(self, deadline: float) -> None:
        """Wait for the reply, a returned request or the deadline. Raises if no reply can arrive."""
        while self.reply is None and not self.problem and time.monotonic() < deadline:
            if not self.channel.consumer_tags:  # no consumer is left, so no reply can reach us
                raise ConnectionError("RabbitMQ closed the channel or deleted the callback queue")
            # Here pika waits for a message, calls on_response or on_return, and sends the
            # heartbeats that tell RabbitMQ that this client is alive.
            self.connection.process_data_events(time_limit=seconds_until(deadline))

    def close(self) -> None:
        """Close the connection. If RabbitMQ hangs, see "Known limits" in the README."""
        with contextlib.suppress(Exception):  # it may be closed or lost already
            self.connection.close()

    def __enter__(self) -> "FibonacciRpcClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def main() -> None:
    """Print fib(n) for the n given on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # let Ctrl-C end the client without a traceback
    parser = argparse.ArgumentParser(description="Get fib(n) from an RPC server over RabbitMQ.")
    parser.add_argument("n", type=int, nargs="?", default=30, help="0 to 20000 (default: 30)")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="default: 10")
    args = parser.parse_args()
    try:
        client = FibonacciRpcClient(timeout=args.timeout)
        print(f" [x] Requesting fib({args.n})", flush=True)
        print(f" [.] Got {client.call(args.n)}", flush=True)
        client.close()  # not after a failure: if RabbitMQ hangs, so does close()
    except (RpcError, TimeoutError, ValueError) as error:
        sys.exit(f" [!] {error}")
    except Exception as error:
        sys.exit(f" [!] {error!r}; is RabbitMQ running, and is AMQP_URL correct?")


if __name__ == "__main__":
    main()
