"""Both scripts as commands: what they print, word for word, their exit codes, and signals."""

import signal

import pytest

from harness import AWAITING, error_line, until

# What they print


def test_the_pair_prints_the_tutorials_lines_unbuffered(server, run):
    calling = run("client.py", "40", "--timeout", "50")
    assert calling.exit_code() == 0
    assert calling.out == " [x] Requesting fib(40)\n [.] Got 102334155\n"
    assert server.out == f"{AWAITING}\n [.] fib(40)\n"
    assert (calling.err, server.err) == ("", "")


def test_an_error_reply_is_one_line_of_the_client_and_a_traceback_of_the_server(server, run):
    calling = run("client.py", "-1")
    error = "ValueError('n must be from 0 to 20000')"
    assert error_line(calling) == f" [!] The server replied {error}"
    assert calling.out == " [x] Requesting fib(-1)\n"
    begun = f"{AWAITING}\n [.] fib(-1)\n [!] Request failed: b'-1'\nTraceback (most recent call"
    assert server.out.startswith(begun)
    assert server.out.endswith("\nValueError: n must be from 0 to 20000\n")
    assert server.err == ""


# AMQP_URL

MALFORMED = {
    "amqp://user:secret#@localhost": "ValueError",
    "amqp://user:secret@localhost?connection_timeout=30": "ValueError",
    "amqp://user:secret@localhost?ssl_options={": "SyntaxError",
    "amqps://user:secret@localhost?ssl_options={'ca_certs':'/secret/ca.pem'}": "FileNotFoundError",
}


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_fails_in_one_line_that_says_what_kind_of_error_it_is(run_alone, url):
    for script, name in [("client.py", "URL"), ("server.py", "AMQP_URL")]:
        line = error_line(run_alone(script, AMQP_URL=url))
        example = "amqp://user:p%23ss@host:5672/vhost?heartbeat=60"
        assert line == f" [!] Invalid {name} ({MALFORMED[url]}); use {example}"


@pytest.mark.parametrize("unset", ["os.environ.pop('AMQP_URL')", ""], ids=["unset", "empty"])
def test_without_a_url_both_scripts_use_localhost_and_importing_runs_nothing(run_alone, unset):
    printing = f"import os; {unset}\nimport client, server, pika\n"
    printing += "print(*[pika.URLParameters(script.AMQP_URL) for script in (client, server)])"
    printed = run_alone("-c", printing, AMQP_URL="")
    assert printed.exit_code() == 0
    localhost = "<URLParameters host=localhost port=5672 virtual_host=/ ssl=False>"
    assert (printed.out, printed.err) == (f"{localhost} {localhost}\n", "")


# Standard output that is gone


@pytest.mark.parametrize(
    "lost",
    ["terminal, out = os.openpty(); os.close(terminal)", "out = os.open('/dev/full', os.O_WRONLY)"],
    ids=["a closed terminal", "a full disk"],
)
def test_a_server_that_cannot_print_answers_all_the_same(broker, client, no_queue, run, lost):
    server = run("-c", f"import os, server; {lost}; os.dup2(out, 1); server.main()")
    until(lambda: (queue := broker.queue()) and queue.consumer_count)
    assert [client.call(n) for n in (10, 20, 30)] == [55, 6765, 832040]
    assert "Message: ' [.] fib(%d)'\nArguments: (30,)" in server.err  # logging says what is lost


# Signals


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_an_idle_server_and_a_waiting_client_without_a_word(
    broker, server, run, name
):
    assert server.stop(name) == 0
    assert (server.out, server.err) == (f"{AWAITING}\n", "")
    waiting = run("client.py", "--timeout", "60")
    until(lambda: broker.queue().message_count)
    assert waiting.stop(name) == -signal.Signals[name]
    assert (waiting.out, waiting.err) == (" [x] Requesting fib(30)\n", "")
