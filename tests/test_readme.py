"""README: its commands, outputs, quoted code, programs, patches and experiments, as they stand."""

import doctest
import re
import shlex
import signal

import pytest

import client as client_script
from harness import AWAITING, ROOT, fails_in_one_line

README = (ROOT / "README.md").read_text()
SCRIPTS = {name: (ROOT / name).read_text() for name in ("server.py", "client.py")}


def section(title):
    """Return README's text from a heading to the next one of its level or above."""
    text = re.split(rf"^(##+) {re.escape(title)}$", README, flags=re.MULTILINE)
    assert len(text) == 3, title
    return re.split(rf"^##{{1,{len(text[1]) - 1}}} ", text[2], flags=re.MULTILINE)[0]


def blocks(language, text=README):
    """Return the fenced blocks of a language in a text."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


def commands(text):
    """Return the commands in a text's shell blocks, each as what follows python."""
    lines = [line for block in blocks("sh", text) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if "python " in line]


# Commands and what they name

LINES = [line for block in blocks("sh") for line in block.splitlines()]
INLINE = re.findall(r"`(docker compose [^`]+|\.venv/bin/[^`]+|\.ci/run)`", README)


@pytest.mark.parametrize("line", [line for line in LINES + INLINE if line.startswith(".")])
def test_the_files_that_commands_name_exist(line):
    program, *words = shlex.split(line.rstrip("&"), comments=True)
    assert program in (".venv/bin/python", ".venv/bin/pip", ".ci/run")
    for word in words:
        assert word in ("install", "-r", "--timeout") or word.isdigit() or (ROOT / word).is_file()


@pytest.mark.parametrize("line", [line for line in LINES + INLINE if line.startswith("docker")])
def test_the_services_that_compose_commands_name_exist(line):
    services = re.findall(r"^  ([a-z]+):", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    action, *words = shlex.split(line)[2:]
    assert action in ("run", "up", "down", "logs", "stop", "restart", "exec")
    names = {word.partition("=")[0] for word in words if not word.startswith("-")}
    assert names <= set(services)


def test_the_block_for_debian_ends_with_the_result(no_queue, run):
    *_, serving, calling = commands(section("On Debian and Ubuntu"))
    assert serving == ["server.py", "&"]
    run(serving[0])
    client = run(*calling)
    assert client.exit_code() == 0
    assert client.out == blocks("", section("With Docker"))[0]
    assert client.out.splitlines()[-1] in section("On Debian and Ubuntu")


# The default


def test_the_default_url_is_that_of_the_scripts():
    (url,) = re.findall(r"default, `(amqp://guest[^`]*)`", README)
    for text in SCRIPTS.values():
        assert f'or "{url}"' in text


# "Break it"


def test_no_server(idle_queue, run):
    text = section("No server")
    ((*words,),) = commands(text)
    calling = run(*words)
    line = fails_in_one_line(calling)
    printed, warning, failure = blocks("", text)[0].splitlines()
    assert calling.out == f"{printed}\n"
    assert (calling.err.splitlines(), line) == ([warning, failure], failure)
    patient = run("client.py", "--timeout", "60")
    patient.says(warning)
    run("server.py")
    assert patient.exit_code() == 0


def test_a_server_killed_during_a_request(no_queue, start_server, run):
    text = section("A server killed during a request (not on Windows)")
    first, call, second = [shlex.split(line)[1:] for line in re.findall(r"`(\.venv[^`]*)`", text)]
    suspended = start_server(*first)
    suspended.process.send_signal(signal.SIGSTOP)  # what Ctrl-Z does, where a terminal is
    calling = run(*call)
    calling.says("is server.py up?")  # and so has sent its request
    other = start_server(*second)
    suspended.stop()
    assert calling.exit_code() == 0
    assert calling.out.endswith(" [.] Got 832040\n")
    assert other.out == f"{AWAITING}\n [.] fib(30)\n"


def test_rabbitmq_restarted(node, server, in_thread, monkeypatch):
    def enter(block, names):
        example = doctest.DocTestParser().get_doctest(block, names, "README", None, None)
        assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
        return example.globs

    monkeypatch.setattr(client_script.FibonacciRpcClient.__init__, "__defaults__", (node.url, 10.0))
    first, second = blocks("pycon", section("RabbitMQ restarted"))
    names = enter(first, {})
    node.ctl("stop_app")
    try:
        calling = in_thread(enter, second, names)
        server.says("Connection refused")
    finally:
        node.ctl("start_app")
    calling.result(60)["client"].close()
    server.prints(AWAITING, times=2)


def test_a_bad_request(server, run):
    text = section("A bad request")
    ((*words,),) = commands(text)
    calling = run(*words)
    assert calling.exit_code() == 1
    assert [calling.out + calling.err] == blocks("", text)
    assert server.process.poll() is None


# "Use it"


def test_the_program_prints_the_number(server, run):
    (program,) = blocks("python", section("In your program"))
    running = run("-c", program)
    assert running.exit_code() == 0
    assert running.out == "832040\n"


def test_the_pool_makes_no_more_clients_than_threads_call_at_once(server, run):
    (program,) = blocks("python", section("In web servers"))
    calls = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(4) as threads:
    print(list(threads.map(fib, [30] * 40)) == [832040] * 40)
print(1 <= pool.qsize() <= 4)
"""
    running = run("-c", program + calls)
    assert running.exit_code() == 0
    assert running.out == "True\nTrue\n"


# "Before production"

CTL = [shlex.split(line)[1:] for line in LINES if line.startswith("rabbitmqctl")]


def test_the_permissions_of_readme_are_enough(node, no_queue, start_server, run):
    users = [words for words in CTL if words[1].startswith("rpc-")]
    assert len(users) == 4
    urls = dict(re.findall(r"`amqp://(rpc-\w+)(:[^`]*)broker.example:5672/%2F`", README))
    address = node.url.partition("@")[2]
    try:
        for words in users:
            node.ctl(*words)
        start_server(AMQP_URL=f"amqp://rpc-server{urls['rpc-server']}{address}")
        calling = run("client.py", AMQP_URL=f"amqp://rpc-client{urls['rpc-client']}{address}")
        assert calling.exit_code() == 0
    finally:
        for name in urls:
            node.ctl("delete_user", name)


def test_a_virtual_host_made_as_readme_says_has_a_quorum_queue(node, start_server, run):
    (add,) = [words for words in CTL if words[0] == "add_vhost"]
    node.ctl(*add)
    try:
        node.ctl("set_permissions", "-p", "rpc", "guest", ".*", ".*", ".*")
        url = node.url.replace("%2F", "rpc")
        start_server(AMQP_URL=url)
        assert "rpc_queue\tquorum" in node.ctl("list_queues", "-p", "rpc", "name", "type")
        assert run("client.py", AMQP_URL=url).exit_code() == 0
        assert start_server(AMQP_URL=url).out == f"{AWAITING}\n"
    finally:
        node.ctl("delete_vhost", "rpc")
