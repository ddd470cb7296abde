"""Servers and clients that are killed, stopped and started while the others go on."""

import random
import signal
import threading

import pytest

from client import FibonacciRpcClient
from conftest import AWAITING, ask, in_thread, until
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
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]


@pytest.mark.parametrize("with_signal", STOPS)
def test_a_signal_ends_a_busy_server_at_once_and_its_request_goes_to_another(
    client, channel, run, start_server, with_signal
):
    busy = run("-c", BUSY_SERVER)
    busy.says(AWAITING)
    answer = in_thread(client.call, 30)
    busy.says("busy")
    start_server()
    assert busy.stop(with_signal) == -with_signal
    assert busy.err == ""
    assert until(lambda: answer) == [832040]


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_and_a_waiting_client_without_a_word(
    channel, run, server, with_signal
):
    assert server.stop(with_signal) == -with_signal
    assert (server.out, server.err) == (f"{AWAITING}\n", "")
    waiting = run("client.py")
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    assert waiting.stop(with_signal) == -with_signal
    assert (waiting.out, waiting.err) == (" [x] Requesting fib(30)\n", "")


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_that_waits_for_a_broker(run, with_signal):
    waiting = run("server.py", AMQP_URL="amqp://guest:guest@127.0.0.1:1/%2F")
    waiting.says_lines(1)
    assert waiting.stop(with_signal) == -with_signal
    assert "Traceback" not in waiting.err


def test_a_server_that_starts_after_the_client_answers_it(channel, client, start_server):
    answer = in_thread(client.call, 30)
    until(lambda: client.problem)
    start_server()
    assert until(lambda: answer) == [832040]


def test_two_servers_and_two_clients_give_every_answer_right_and_share_the_work(
    broker, start_server
):
    servers = [start_server(), start_server()]

    def call_many(seed):
        numbers = random.Random(seed)
        with FibonacciRpcClient(broker.url) as client:
            return [(n, client.call(n)) for n in (numbers.randrange(2000) for _ in range(100))]

    callers = [in_thread(call_many, seed) for seed in range(2)]
    answers = [answer for caller in callers for answer in until(lambda c=caller: c)[0]]
    assert len(answers) == 200
    assert all(value == fib(n) for n, value in answers)
    until(lambda: sum(server.out.count("fib(") for server in servers) == 200)
    assert min(server.out.count("fib(") for server in servers) > 20


@pytest.mark.timeout(150)
def test_forty_stops_and_starts_of_servers_lose_no_call_and_give_no_wrong_answer(
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
    for stop in range(40):
        replacement = start_server() if numbers.random() < 0.5 else None
        server.stop(numbers.choice(STOPS))
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
