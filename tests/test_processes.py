"""Servers and clients that are killed, stopped and started while the others go on."""

import random
import signal
import threading
import time

import pytest

from client import FibonacciRpcClient
from conftest import ask, in_thread, until
from server import fib

# A server that prints "busy" and then computes for longer than any test lasts.
BUSY_SERVER = """
import server, time

def fib(n):
    print("busy", flush=True)
    time.sleep(600)

server.fib = fib
server.main()
"""
STOPPED = pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])


def test_a_killed_servers_request_is_answered_by_another_and_the_caller_notices_nothing(
    client, channel, run, start_server
):
    killed = run("-c", BUSY_SERVER)
    killed.says(" [x] Awaiting RPC requests")
    answer = in_thread(client.call, 30)
    killed.says("busy")
    start_server()
    killed.stop(signal.SIGKILL)
    assert until(lambda: answer) == [832040]


@STOPPED
def test_a_signal_stops_an_idle_server_with_exit_0_and_no_word(server, with_signal):
    assert server.stop(with_signal) == 0
    assert (server.out, server.err) == (" [x] Awaiting RPC requests\n", "")


@STOPPED
def test_a_signal_stops_a_busy_server_and_its_request_goes_to_another(
    client, channel, run, start_server, with_signal
):
    busy = run("-c", BUSY_SERVER)
    answer = in_thread(client.call, 30)
    busy.says("busy")
    assert busy.stop(with_signal) == 0
    assert busy.err == ""
    start_server()
    assert until(lambda: answer) == [832040]


@STOPPED
def test_a_signal_stops_a_server_that_waits_for_a_broker(run, with_signal):
    waiting = run("server.py", AMQP_URL="amqp://guest:guest@127.0.0.1:1/%2F")
    until(lambda: "connecting again" in waiting.err)
    assert waiting.stop(with_signal) == 0
    assert "Traceback" not in waiting.err


@pytest.mark.parametrize(
    ("with_signal", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_stops_a_waiting_client_without_a_word(channel, run, with_signal, exit_code):
    channel.queue_declare("rpc_queue", durable=True)
    waiting = run("client.py")
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    assert waiting.stop(with_signal) == exit_code
    assert (waiting.out, waiting.err) == (" [x] Requesting fib(30)\n", "")


def test_a_server_that_starts_two_seconds_after_the_client_answers_it(channel, run, start_server):
    waiting = run("client.py")
    waiting.says(" [x] Requesting fib(30)")
    time.sleep(2)  # the fault itself: no condition stands for it
    start_server()
    assert waiting.exit_code() == 0
    assert waiting.out == " [x] Requesting fib(30)\n [.] Got 832040\n"


@pytest.mark.timeout(150)
def test_a_hundred_stops_and_starts_of_servers_lose_no_call_and_give_no_wrong_answer(
    broker, start_server
):
    over = threading.Event()
    numbers = random.Random(100)

    def call_on_and_on():
        calls = 0
        with FibonacciRpcClient(broker.url) as client:
            while not over.is_set():
                n = numbers.randrange(20_001)
                assert client.call(n) == fib(n)
                calls += 1
        return calls

    callers = [in_thread(call_on_and_on) for _ in range(2)]
    server = start_server()
    for stop in range(100):
        replacement = start_server() if numbers.random() < 0.5 else None
        server.stop(numbers.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGINT]))
        server = replacement or start_server()
        assert not any(callers), f"a caller ended after stop {stop}"
    over.set()
    until(lambda: all(callers))
    assert sum(calls for caller in callers for calls in caller) > 100


def test_a_request_from_before_the_callers_death_costs_no_server(server, channel, run):
    dying = run(
        "-c",
        "import os, client; c = client.FibonacciRpcClient(); c.connection.call_later"
        "(0, lambda: os._exit(9)); c.call(30)",
    )
    assert dying.exit_code() == 9
    assert ask(channel, b"30")[2] == b"832040"
