"""Server and client together."""

import random
import threading

from client import FibonacciRpcClient
from conftest import until
from server import fib


def test_two_servers_and_two_clients_give_every_answer_right_and_share_the_work(
    broker, start_server
):
    servers = [start_server(), start_server()]
    answers = []

    def call_many(seed):
        numbers = random.Random(seed)
        with FibonacciRpcClient(broker.url) as client:
            for n in (numbers.randrange(2000) for _ in range(100)):
                answers.append((n, client.call(n)))

    callers = [threading.Thread(target=call_many, args=[seed]) for seed in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(answers) == 200
    assert all(value == fib(n) for n, value in answers)
    until(lambda: sum(server.out.count("fib(") for server in servers) == 200)
    assert min(server.out.count("fib(") for server in servers) > 20
