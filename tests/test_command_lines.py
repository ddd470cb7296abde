"""Both scripts as commands: what they print, word for word, their exit codes, and signals."""

import signal
import socket
from unittest.mock import Mock

import pytest

import client
from harness import AWAITING, MALFORMED, fails_in_one_line, until

REQUESTING = " [x] Requesting fib(30)\n"


# What they print


def test_the_pair_prints_the_tutorials_lines_unbuffered(server, run):
    calling = run("client.py")
    assert calling.exit_code() == 0
    assert (calling.out, calling.err) == (REQUESTING + " [.] Got 832040\n", "")
    server.prints(" [.] fib(30)")
    assert server.out == f"{AWAITING}\n [.] fib(30)\n"
    assert server.err == ""


def test_the_client_takes_n_and_a_timeout(server, run):
    calling = run("client.py", "100", "--timeout", "50")
    assert calling.exit_code() == 0
    assert calling.out == " [x] Requesting fib(100)\n [.] Got 354224848179261915075\n"


def test_an_error_reply_fails_in_one_line_on_both_sides(server, run):
    calling = run("client.py", "-1")
    error = "ValueError('n must be from 0 to 20000')"
    assert fails_in_one_line(calling) == f' [!] The server replied "{error}"'
    assert calling.out == " [x] Requesting fib(-1)\n"
    assert server.err == f" [!] {error}\n"
    assert server.out == f"{AWAITING}\n"


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_the_client_says_what_it_requests_before_it_connects(run, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        calling = run("client.py", "--timeout", "1", AMQP_URL=f"{scheme}://127.0.0.1:{port}")
        calling.prints(REQUESTING.strip("\n"))
        assert calling.process.poll() is None
        line = fails_in_one_line(calling)
    assert f"127.0.0.1:{port}" in line
    assert "AMQPConnectorStackTimeout" in line


# Usage


@pytest.mark.parametrize(
    ("script", "words"),
    [("client.py", ["[n]", "--timeout SECONDS", "default: 30", "default: 10"]), ("server.py", [])],
)
def test_help_helps_and_nothing_starts(run_alone, script, words):
    helping = run_alone(script, "--help")
    assert helping.exit_code() == 0
    assert helping.err == ""
    for word in [f"usage: {script}", "--help", "RPC", *words]:
        assert word in helping.out


@pytest.mark.parametrize(
    "words",
    [
        "client.py 1.5",
        "client.py 30 31",
        "client.py --timeout soon",
        "server.py 30",
        "server.py -x",
    ],
)
def test_wrong_usage_exits_2(run_alone, words):
    script, *arguments = words.split()
    refusing = run_alone(script, *arguments)
    assert refusing.exit_code() == 2
    assert refusing.err.startswith(f"usage: {script}")


def test_the_defaults_are_10_seconds_and_a_word_after_one(monkeypatch):
    assert client.FibonacciRpcClient.__init__.__defaults__ == (client.AMQP_URL, 10.0)
    made = Mock()
    monkeypatch.setattr("sys.argv", ["client.py"])
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(client, "FibonacciRpcClient", made)
    client.main()
    made.assert_called_once_with(timeout=10)
    assert made.return_value.connection.call_later.call_args.args[0] == 1


def test_a_timeout_of_a_nanosecond_fails_in_one_line(run):
    line = fails_in_one_line(run("client.py", "--timeout", "1e-9"))
    assert line.startswith(" [!] No connection to ")


# AMQP_URL


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_fails_in_one_line(run_alone, url):
    for script, name in [("client.py", "URL"), ("server.py", "AMQP_URL")]:
        line = fails_in_one_line(run_alone(script, AMQP_URL=url))
        assert line == f" [!] Invalid {name}; use amqp://user:password@host:5672/%2F"


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_url_counts_as_unset_and_importing_a_script_runs_nothing(run_alone, empty):
    printing = "import client, server; print(client.AMQP_URL, server.AMQP_URL)"
    printed = run_alone("-c", printing, AMQP_URL=empty)
    assert printed.exit_code() == 0
    default = "amqp://guest:guest@localhost:5672/%2F"
    assert (printed.out, printed.err) == (f"{default} {default}\n", "")


# Signals


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
class TestASignalEndsWithoutAWord:
    def test_an_idle_server(self, server, with_signal):
        assert server.stop(with_signal) == -with_signal
        assert (server.out, server.err) == (f"{AWAITING}\n", "")

    def test_a_waiting_client(self, broker, idle_queue, run, with_signal):
        waiting = run("client.py", "--timeout", "60")
        until(lambda: broker.queue().message_count)
        assert waiting.stop(with_signal) == -with_signal
        assert waiting.out == REQUESTING
        assert "Traceback" not in waiting.err

    def test_a_server_that_waits_for_a_broker(self, run_alone, with_signal):
        waiting = run_alone("server.py")
        waiting.complains("reconnecting in a second")
        assert waiting.stop(with_signal) == -with_signal
        assert "Traceback" not in waiting.err
