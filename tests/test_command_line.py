"""Both scripts as commands: what they print, word for word, and their exit codes."""

import re

import pytest

import client
from conftest import AWAITING

MALFORMED = "amqp://user:secret#@localhost"
NOBODY = "amqp://guest:secret@127.0.0.1:1/%2F"


def finished(script):
    """Wait for a script to end; return its exit code and what it wrote to either stream."""
    return script.exit_code(), script.out, script.err


def test_the_pair_prints_the_tutorials_lines_unbuffered(server, run):
    expected = " [x] Requesting fib(30)\n [.] Got 832040\n"
    assert finished(run("client.py")) == (0, expected, "")
    server.says(" [.] fib(30)")
    assert server.out == f"{AWAITING}\n [.] fib(30)\n"
    assert server.err == ""


def test_the_client_takes_n_and_a_timeout(standing_server, run):
    expected = " [x] Requesting fib(100)\n [.] Got 354224848179261915075\n"
    assert finished(run("client.py", "100", "--timeout", "2.5")) == (0, expected, "")


@pytest.mark.parametrize("n", ["20001", "-1"])
def test_the_client_prints_an_error_reply_as_one_line_and_exits_1(standing_server, run, n):
    code, out, err = finished(run("client.py", n))
    assert (code, out) == (1, f" [x] Requesting fib({n})\n")
    said = f"n must be a number from 0 to 20000, not b'{n}'"
    assert err == f' [!] The server replied "{said}"\n'


def test_without_a_server_the_client_says_so_in_one_line_and_exits_1(channel, run):
    code, out, err = finished(run("client.py", "--timeout", "0.5"))
    assert (code, out) == (1, " [x] Requesting fib(30)\n")
    assert err == " [!] No reply within 0.5 s: rpc_queue does not exist; start server.py\n"


def test_the_client_describes_itself_and_its_defaults(run):
    code, out, err = finished(run("client.py", "--help"))
    assert (code, err) == (0, "")
    assert "default: 30" in out
    assert "default: 10" in out


def test_the_defaults_of_the_command_line_are_30_and_10_seconds(monkeypatch, capsys):
    class Client:
        def __init__(self, timeout):
            assert timeout == 10

        def call(self, n):
            assert n == 30
            raise TimeoutError("as asked")

    monkeypatch.setattr("sys.argv", ["client.py"])
    monkeypatch.setattr(client, "FibonacciRpcClient", Client)
    with pytest.raises(SystemExit, match="as asked"):
        client.main()
    assert capsys.readouterr().out == " [x] Requesting fib(30)\n"


@pytest.mark.parametrize(
    "arguments",
    [["abc"], ["30", "31"], ["1.5"], [""], ["--timeout", "soon"], ["--nonsense"]],
)
def test_wrong_usage_exits_2_and_prints_no_traceback(monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["client.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        client.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: client.py")


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "1e6"])
def test_a_timeout_out_of_range_is_one_line_and_exit_1(monkeypatch, timeout):
    monkeypatch.setattr("sys.argv", ["client.py", "--timeout", timeout])
    with pytest.raises(SystemExit) as ended:
        client.main()
    assert ended.value.code == " [!] timeout must be more than 0 and less than 1,000,000 seconds"


def test_a_timeout_of_a_nanosecond_ends_at_once_in_one_line(channel, run):
    code, _, err = finished(run("client.py", "--timeout", "1e-9"))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(" [!] ")
    assert "is RabbitMQ running" in err  # and no word of a timeout that pika does not allow


NO_BROKER = {
    "nobody listens": NOBODY,
    "no such host": "amqp://guest:secret@no-such-host.invalid/%2F",
    "malformed": MALFORMED,
    "two of them": f"{NOBODY} {NOBODY}",
}


@pytest.mark.parametrize("url", NO_BROKER.values(), ids=NO_BROKER.keys())
def test_without_a_broker_the_client_says_so_in_one_line_and_exits_1(run, url):
    code, out, err = finished(run("client.py", AMQP_URL=url))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(" [!] ")
    assert "AMQP_URL" in err
    assert "secret" not in err


def refused(broker, what):
    """Return the broker's URL with a password or a vhost that it refuses."""
    if what == "password":
        return re.sub(r"//([^:/]+):[^@]+@", r"//\1:secret@", broker.url)
    return re.sub(r"(//[^/?]+)(/[^?]*)?", r"\1/no-such-vhost", broker.url)


@pytest.mark.parametrize("what", ["password", "vhost"])
def test_a_refused_login_or_vhost_is_one_line_and_exit_1_for_the_client(broker, run, what):
    code, out, err = finished(run("client.py", AMQP_URL=refused(broker, what)))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(" [!] ")
    assert "AMQP_URL" in err
    assert "secret" not in err


def test_a_server_that_cannot_connect_says_so_in_a_line_a_second_and_goes_on_trying(broker, run):
    servers = {
        "Connection refused": run("server.py", AMQP_URL=NOBODY),
        "403": run("server.py", AMQP_URL=refused(broker, "password")),
        "530": run("server.py", AMQP_URL=refused(broker, "vhost")),
    }
    for reason, server in servers.items():
        server.says_lines(2)
        assert server.process.poll() is None
        for line in server.err.splitlines():
            assert line.startswith(" [!] ")
            assert line.endswith("; reconnecting in a second")
            assert reason in line
        assert "secret" not in server.err
        assert server.out == ""


def test_a_malformed_url_is_one_line_and_exit_1_for_the_server(run):
    code, out, err = finished(run("server.py", AMQP_URL=MALFORMED))
    assert (code, out) == (1, "")
    assert err == " [!] Invalid AMQP_URL (ValueError); use amqp://user:password@host:5672/%2F\n"


@pytest.mark.parametrize("empty", ["", " \n"])
def test_an_empty_url_counts_as_unset_and_importing_a_script_runs_nothing(run, empty):
    printing = "import client, server; print(client.AMQP_URL, server.AMQP_URL)"
    default = "amqp://guest:guest@localhost:5672/%2F"
    assert finished(run("-c", printing, AMQP_URL=empty)) == (0, f"{default} {default}\n", "")
