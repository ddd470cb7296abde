"""Both scripts as commands: what they print, word for word, their exit codes, and signals."""

import signal
import socket
import sys

import pytest

from harness import AWAITING, MALFORMED, fails_in_one_line, until

# What they print


@pytest.mark.parametrize("arguments", [[], ["40", "--timeout", "50"]])
def test_the_pair_prints_the_tutorials_lines_unbuffered(server, run, arguments):
    calling = run("client.py", *arguments)
    assert calling.exit_code() == 0
    n, value = (40, 102334155) if arguments else (30, 832040)
    assert calling.out == f" [x] Requesting fib({n})\n [.] Got {value}\n"
    assert server.out == f"{AWAITING}\n [.] fib({n})\n"
    assert (calling.err, server.err) == ("", "")


def test_an_error_reply_is_one_line_of_the_client_and_a_traceback_of_the_server(server, run):
    calling = run("client.py", "-1")
    error = "ValueError('n must be from 0 to 20000')"
    assert fails_in_one_line(calling) == f" [!] The server replied {error}"
    assert calling.out == " [x] Requesting fib(-1)\n"
    awaiting, begun, failed, *traceback, last = server.out.splitlines()
    assert (awaiting, begun, failed) == (AWAITING, " [.] fib(-1)", " [!] Request failed: b'-1'")
    assert traceback[0] == "Traceback (most recent call last):"
    assert last == "ValueError: n must be from 0 to 20000"
    assert server.err == ""


@pytest.fixture
def silence():
    """The address of what accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"127.0.0.1:{silent.getsockname()[1]}"


def test_the_client_says_what_it_requests_before_it_connects(run_alone, silence):
    calling = run_alone("client.py", "--timeout", "1", AMQP_URL=f"amqps://{silence}")
    calling.prints(" [x] Requesting fib(30)")
    assert calling.process.poll() is None
    line = fails_in_one_line(calling)
    assert line.startswith(f" [!] RabbitMQ at {silence}: ")
    assert "AMQPConnectorStackTimeout" in line


def test_a_server_that_meets_silence_goes_on_trying(run_alone, silence):
    server = run_alone("server.py", AMQP_URL=f"amqp://{silence}?stack_timeout=1")
    server.says("; reconnecting in a second", times=2)


# Usage


def test_help_helps(run_alone):
    helping = run_alone("client.py", "--help")
    assert helping.exit_code() == 0
    assert helping.err == ""
    for word in ["usage: client.py", "[n]", "--timeout", "default: 30", "seconds (default: 5)"]:
        assert word in helping.out


@pytest.mark.parametrize("words", ["1.5", "30 31", "--timeout x"])
def test_wrong_usage_exits_2(run_alone, words):
    refusing = run_alone("client.py", *words.split())
    assert refusing.exit_code() == 2
    assert refusing.err.startswith("usage: client.py")


# AMQP_URL


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_fails_in_one_line_that_says_what_kind_of_error_it_is(run_alone, url):
    for script, name in [("client.py", "URL"), ("server.py", "AMQP_URL")]:
        line = fails_in_one_line(run_alone(script, AMQP_URL=url))
        example = "amqp://user:p%23ss@host:5672/vhost?heartbeat=60"
        assert line == f" [!] Invalid {name} ({MALFORMED[url]}); use {example}"


@pytest.mark.parametrize("environment", ["unset", "empty"])
def test_without_a_url_both_scripts_use_guest_at_localhost(run_alone, environment):
    unset = "import os; del os.environ['AMQP_URL']\n" if environment == "unset" else ""
    printing = "import client, server, pika\nfor script in (client, server):\n"
    printing += " print(repr(pika.URLParameters(script.AMQP_URL)), script.AMQP_URL.count('guest'))"
    printed = run_alone("-c", unset + printing, AMQP_URL="")
    assert printed.exit_code() == 0
    guests = 2 if unset else 0
    line = f"<URLParameters host=localhost port=5672 virtual_host=/ ssl=False> {guests}\n"
    assert (printed.out, printed.err) == (2 * line, "")


# Standard output that is gone, or cannot show a character

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
    assert "Message: ' [.] fib(%d)'\nArguments: (30,)" in server.err  # logging says what is lost


def test_a_traceback_that_standard_output_cannot_show_is_on_standard_error(
    no_queue, start_server, run
):
    failing = "import server; server.fib = lambda n: {}['n \u2192 value']; server.main()"
    server = start_server("-c", failing, PYTHONIOENCODING="cp1252")
    assert "KeyError" in fails_in_one_line(run("client.py"))
    assert "KeyError: 'n \\u2192 value'" in server.out + server.err


# Signals


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

    def test_a_waiting_client(self, broker, idle_queue, run, name):
        waiting = run("client.py", "--timeout", "60")
        until(lambda: broker.queue().message_count)
        assert waiting.stop(name) == -signal.Signals[name]
        assert (waiting.out, waiting.err) == (" [x] Requesting fib(30)\n", "")
