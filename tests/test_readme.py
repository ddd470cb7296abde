"""README: its outputs and programs, as they stand. .ci/readme runs its Docker blocks."""

import re
import shlex
from textwrap import indent

from harness import ROOT, fails_in_one_line

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """Return README's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


OUTPUTS = blocks("")
USE_IT, YOUR_OWN_FUNCTION, THREADS = blocks("python")


# "Run it", "Break it"


def test_both_terminals_show_what_readme_shows(no_queue, start_server, run):
    server = start_server()
    calling = run("client.py")
    assert calling.exit_code() == 0
    assert OUTPUTS[:2] == [calling.out, server.out]


def test_without_a_server_the_client_shows_what_readme_shows(idle_queue, run):
    (arguments,) = re.findall(r"run --rm --no-deps client (.+)", README)
    calling = run("client.py", *arguments.split())
    fails_in_one_line(calling)
    assert OUTPUTS[2] == calling.out + calling.err


# "Use it"


def test_the_program_prints_the_number(server, run):
    running = run("-c", USE_IT)
    assert running.exit_code() == 0
    assert running.out == "832040\n"


def test_a_function_of_ones_own_takes_and_returns_json(no_queue, start_server, run, tmp_path):
    def change(script, pattern, lines):
        source, count = re.subn(
            pattern,
            lambda match: indent(lines, match[1]),
            (ROOT / script)
            .read_text(encoding="utf-8")
            .replace("(self, n: int)", "(self, arguments)"),
        )
        assert count == 1
        (tmp_path / script).write_text(
            source.replace("import pika", "import json\n\nimport pika", 1)
        )

    own_server, own_client = YOUR_OWN_FUNCTION.split("# client.py\n")
    change("server.py", r"( *)n = int\(body\)\n(?:.*\n)+?.*\bfib\(n\).*\n", own_server)
    change("client.py", r"( *)return int\(self\.rpc.*\n", own_client)
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    greet = "server.greet = lambda name: {'greeting': f'Hello, {name}!'}"
    server = start_server("-c", f"{path}import server; {greet}; server.main()")
    calling = run(
        "-c", f"{path}from client import *; print(FibonacciRpcClient().call({{'name': 'Ada'}}))"
    )
    assert calling.exit_code() == 0
    assert calling.out == "{'greeting': 'Hello, Ada!'}\n"
    server.prints(" [.] greet({'name': 'Ada'})")


def test_each_thread_has_a_client_of_its_own(server, run):
    calls = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(4) as threads:
    print(list(threads.map(fib, [30] * 40)) == [832040] * 40)
"""
    running = run("-c", THREADS + calls)
    assert running.exit_code() == 0
    assert running.out == "True\n"


# "In production"

CTL = [
    shlex.split(line)[1:]
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("rabbitmqctl")
]


def test_the_permissions_are_enough(node, no_queue, start_server, run):
    users = [words for words in CTL if words[1].startswith("rpc-")]
    assert len(users) == 4
    urls = {
        name: node.url.replace("guest:guest", f"{name}:{password}")
        for command, name, password, *_ in users
        if command == "add_user"
    }
    try:
        for words in users:
            node.ctl(*words)
        start_server(AMQP_URL=urls["rpc-server"])
        assert run("client.py", AMQP_URL=urls["rpc-client"]).exit_code() == 0
    finally:
        for name in urls:
            node.ctl("delete_user", name)


def test_the_virtual_host_has_a_quorum_queue(node, start_server, run):
    (add,) = [words for words in CTL if words[0] == "add_vhost"]
    node.ctl(*add)
    try:
        node.ctl("set_permissions", "-p", "rpc", "guest", ".*", ".*", ".*")
        url = node.url.replace("%2F", "rpc")
        start_server(AMQP_URL=url)
        assert "rpc_queue\tquorum" in node.ctl("list_queues", "-p", "rpc", "name", "type")
        assert run("client.py", AMQP_URL=url).exit_code() == 0
    finally:
        node.ctl("delete_vhost", "rpc")
