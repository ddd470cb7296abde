"""Both scripts as commands: what they print, word for word, and their exit codes."""

import re
import signal

import pytest

MALFORMED = "amqp://user:secret#@localhost"


def finished(script):
    """Wait for a script to end; return its exit code and what it wrote to either stream."""
    return script.exit_code(), script.out, script.err


def test_the_client_prints_the_tutorials_lines_and_exits_0(server, run):
    expected = " [x] Requesting fib(30)\n [.] Got 832040\n"
    assert finished(run("client.py")) == (0, expected, "")


def test_the_client_takes_n_and_a_timeout(server, run):
    expected = " [x] Requesting fib(100)\n [.] Got 354224848179261915075\n"
    assert finished(run("client.py", "100", "--timeout", "2.5")) == (0, expected, "")


def test_the_server_prints_the_tutorials_lines_unbuffered_and_exits_0_when_stopped(server, run):
    run("client.py").exit_code()
    server.says(" [.] fib(30)")
    assert server.stop(signal.SIGTERM) == 0
    assert server.out == " [x] Awaiting RPC requests\n [.] fib(30)\n"
    assert server.err == ""


def test_the_client_prints_an_error_reply_as_one_line_and_exits_1(server, run):
    code, out, err = finished(run("client.py", "20001"))
    assert (code, out) == (1, " [x] Requesting fib(20001)\n")
    assert err == " [!] The server replied 'ValueError: n must be 0 to 20000, not 20001'\n"


def test_the_client_sends_a_negative_n_for_the_server_to_refuse(server, run):
    code, _, err = finished(run("client.py", "-1"))
    assert (code, err.count("\n")) == (1, 1)
    assert "0 to 20000" in err


def test_without_a_server_the_client_says_so_in_one_line_and_exits_1(channel, run):
    code, _, err = finished(run("client.py", "--timeout", "1"))
    assert code == 1
    assert err == (" [!] No reply within 1 s: no server has declared rpc_queue; start server.py\n")


def test_the_client_describes_itself_and_its_defaults(run):
    code, out, err = finished(run("client.py", "--help"))
    assert (code, err) == (0, "")
    assert "default: 30" in out
    assert "default: 10" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["abc"],
        ["30", "31"],
        ["1.5"],
        [""],
        ["--timeout", "0"],
        ["--timeout", "-1"],
        ["--timeout", "nan"],
        ["--timeout", "inf"],
        ["--timeout", "soon"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_exits_2_and_prints_no_traceback(run, arguments):
    code, out, err = finished(run("client.py", *arguments))
    assert (code, out) == (2, "")
    assert err.startswith("usage: client.py")
    assert "Traceback" not in err


NO_BROKER = {
    "nobody listens": "amqp://guest:secret@127.0.0.1:1/%2F",
    "no such host": "amqp://guest:secret@no-such-host.invalid/%2F",
    "malformed": MALFORMED,
    "two of them": "amqp://guest:secret@127.0.0.1:1 amqp://guest:secret@127.0.0.1:2",
}


@pytest.mark.parametrize("url", NO_BROKER.values(), ids=NO_BROKER.keys())
def test_without_a_broker_the_client_says_so_in_one_line_and_exits_1(run, url):
    code, out, err = finished(run("client.py", AMQP_URL=url))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(" [!] ")
    assert "AMQP_URL" in err
    assert "secret" not in err


def test_without_a_broker_the_server_says_so_every_second_and_goes_on_trying(run):
    server = run("server.py", AMQP_URL=NO_BROKER["nobody listens"])
    line = (
        " [!] AMQPConnectionError: (AMQPConnectorSocketConnectError: ConnectionRefusedError(111, "
        "'Connection refused'),); connecting again in a second"
    )
    server.says(line, times=2)
    assert (server.stop(), server.out) == (0, "")


def test_the_server_tries_several_urls_in_turn(broker, channel, run):
    server = run("server.py", AMQP_URL=f"{NO_BROKER['no such host']} {broker.url}")
    server.says(" [x] Awaiting RPC requests")
    assert server.err.count("\n") == 1


def refused(broker, what):
    """Return the broker's URL with a password or a vhost that it refuses."""
    url = broker.url.split()[0]
    if what == "password":
        return re.sub(r"//([^:/]+):[^@]+@", r"//\1:secret@", url)
    return re.sub(r"(//[^/?]+)(/[^?]*)?", r"\1/no-such-vhost", url)


@pytest.mark.parametrize("what", ["password", "vhost"])
@pytest.mark.parametrize("script", ["client.py", "server.py"])
def test_a_refused_login_or_vhost_is_one_line_and_exit_1(broker, run, script, what):
    code, out, err = finished(run(script, AMQP_URL=refused(broker, what)))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(" [!] ")
    assert "AMQP_URL" in err
    assert "secret" not in err


def test_a_malformed_url_is_one_line_and_exit_1_for_the_server_too(run):
    code, out, err = finished(run("server.py", AMQP_URL=MALFORMED))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(" [!] AMQP_URL")
    assert "secret" not in err


@pytest.mark.parametrize("empty", ["", " \n"])
@pytest.mark.parametrize("script", ["client", "server"])
def test_an_empty_url_counts_as_unset(run, script, empty):
    printing = run("-c", f"import {script}; print({script}.AMQP_URL)", AMQP_URL=empty)
    assert finished(printing) == (0, "amqp://guest:guest@localhost:5672/%2F\n", "")


def test_importing_a_script_runs_nothing(run):
    assert finished(run("-c", "import client, server", AMQP_URL=MALFORMED)) == (0, "", "")
