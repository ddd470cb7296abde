"""Both scripts as commands: what they print, word for word, their exit codes, and signals."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from client import FibonacciRpcClient
from harness import AWAITING, MALFORMED, fails_in_one_line, take, until

# What they print


@pytest.mark.parametrize("arguments", [[], ["40", "--timeout", "50"]])
def test_the_pair_prints_the_tutorials_lines_unbuffered(server, run, arguments):
    calling = run("client.py", *arguments)
    assert calling.exit_code() == 0
    n, value = (40, 102334155) if arguments else (30, 832040)
    assert calling.out == f" [x] Requesting fib({n})\n [.] Got {value}\n"
    assert server.out == f"{AWAITING}\n [.] fib({n})\n"
    assert (calling.err, server.err) == ("", "")


def test_an_error_reply_fails_in_one_line_on_both_sides(server, run):
    calling = run("client.py", "-1")
    error = "n must be from 0 to 20000"
    assert fails_in_one_line(calling) == f" [!] The server replied '{error}'"
    assert calling.out == " [x] Requesting fib(-1)\n"
    assert server.out == f"{AWAITING}\n [!] Bad request: {error}\n"
    assert server.err == ""


def test_the_client_says_what_it_requests_before_it_connects(run):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        calling = run("client.py", "--timeout", "1", AMQP_URL=f"amqps://127.0.0.1:{port}")
        calling.prints(" [x] Requesting fib(30)")
        assert calling.process.poll() is None
        line = fails_in_one_line(calling)
        run("server.py", AMQP_URL=f"amqp://127.0.0.1:{port}?stack_timeout=1").says("; reconnecting")
    assert f"127.0.0.1:{port}" in line
    assert "AMQPConnectorStackTimeout" in line


# Usage


@pytest.mark.parametrize("script", ["client.py", "server.py"])
def test_help_helps_and_nothing_starts(run_alone, script):
    helping = run_alone(script, "--help")
    assert helping.exit_code() == 0
    assert helping.err == ""
    options = ["[n]", "--timeout SECONDS", "default: 30", "default: 10"]
    for word in [f"usage: {script}", "RabbitMQ", *(options if script == "client.py" else [])]:
        assert word in helping.out


WRONG = ["client.py 1.5", "client.py 30 31", "client.py --timeout x", "server.py 30"]


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_exits_2(run_alone, words):
    script, *arguments = words.split()
    refusing = run_alone(script, *arguments)
    assert refusing.exit_code() == 2
    assert refusing.err.startswith(f"usage: {script}")


def test_the_default_timeout_is_10_seconds(broker, channel, idle_queue, run):
    run("client.py")
    assert 9_000 < int(take(channel, "rpc_queue")[1].expiration) <= 10_000
    with FibonacciRpcClient(broker.url) as client:
        assert client.timeout == 10


# AMQP_URL


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_fails_in_one_line(run_alone, url):
    for script, name in [("client.py", "URL"), ("server.py", "AMQP_URL")]:
        line = fails_in_one_line(run_alone(script, AMQP_URL=url))
        example = "amqp://user:p%23ss@host:5672/%2F, percent-encoded"
        assert line == f" [!] Invalid {name}; use {example}"


def test_an_empty_url_counts_as_unset_and_importing_a_script_runs_nothing(run_alone):
    printing = "import client, server; print(client.AMQP_URL, server.AMQP_URL)"
    printed = run_alone("-c", printing, AMQP_URL="")
    assert printed.exit_code() == 0
    default = "amqp://guest:guest@localhost:5672/%2F"
    assert (printed.out, printed.err) == (f"{default} {default}\n", "")


# Standard output that is gone

LOST = {
    "a closed terminal": "terminal, out = os.openpty(); os.close(terminal)",
    "a full disk": "out = os.open('/dev/full', os.O_WRONLY)",
    "a closed pipe": "end, out = os.pipe(); os.close(end)",
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_a_server_that_cannot_print_answers_all_the_same(broker, client, no_queue, run, lost):
    server = run("-c", f"import os, server; {lost}; os.dup2(out, 1); server.main()")
    until(lambda: (queue := broker.queue()) and queue.consumer_count)
    assert [client.call(n) for n in (10, 20, 30)] == [55, 6765, 832040]
    assert server.err == ""


# Signals

PROCESS_1 = ["unshare", "--pid", "--fork", "--kill-child"]
allowed = (
    shutil.which("unshare")
    and not subprocess.run([*PROCESS_1, "true"], stderr=subprocess.DEVNULL).returncode
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
class TestASignalEndsWithoutAWord:
    def test_an_idle_server(self, server, name):
        assert server.stop(name) == 0
        assert (server.out, server.err) == (f"{AWAITING}\n", "")

    def test_a_server_that_waits_for_a_broker(self, run_alone, name):
        waiting = run_alone("server.py")
        waiting.says("reconnecting in a second")
        assert waiting.stop(name) == 0
        assert waiting.err == ""

    @pytest.mark.skipif(not allowed, reason="unshare is not allowed here")
    def test_a_server_that_is_process_1_of_a_container(self, run_alone, name):
        command = [*PROCESS_1, sys.executable, "server.py"]
        container = run_alone("-c", f"import os; os.execvp('unshare', {command})")
        container.says("reconnecting in a second")
        pid = container.process.pid
        os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text()), signal.Signals[name])
        assert container.exit_code() == 0

    def test_a_waiting_client(self, broker, idle_queue, run, name):
        waiting = run("client.py", "--timeout", "60")
        until(lambda: broker.queue().message_count)
        assert waiting.stop(name) == -signal.Signals[name]
        assert waiting.out == " [x] Requesting fib(30)\n"
        assert "Traceback" not in waiting.err
