"""README: its outputs and programs, as they stand. .ci/readme runs its Docker blocks."""

import re
import shlex

from harness import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """Return README's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


OUTPUTS = blocks("")
(USE_IT,) = blocks("python")
(OWN_FUNCTION,) = blocks("diff")


# "Run it"


def test_both_terminals_show_what_readme_shows(server, run):
    calling = run("client.py")
    assert calling.exit_code() == 0
    assert OUTPUTS[:2] == [calling.out, server.out]


# "Use it"


def test_the_program_prints_the_number(server, run):
    running = run("-c", USE_IT)
    assert running.exit_code() == 0
    assert running.out == "832040\n"


def test_a_function_of_ones_own_takes_and_returns_json(
    no_queue, start_server, run, tmp_path, monkeypatch
):
    own_server, own_client = OWN_FUNCTION.split(" # client.py\n")
    for script, diff in [("server.py", own_server), ("client.py", own_client)]:
        source = "import json\n" + (ROOT / script).read_text(encoding="utf-8")
        for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", diff, re.MULTILINE):
            old, new = (re.sub("^[-+]", "", lines, flags=re.MULTILINE) for lines in (old, new))
            assert source.count(old) == 1
            source = source.replace(old, new)
        (tmp_path / script).write_text(source, encoding="utf-8")
    monkeypatch.setattr("harness.ROOT", tmp_path)
    server = start_server("server.greet = lambda name: ['Hello', name]")
    calling = run("-c", "import client; print(client.FibonacciRpcClient().call({'name': 'Ada'}))")
    assert calling.exit_code() == 0
    assert calling.out == "['Hello', 'Ada']\n"
    server.says(" [.] greet({'name': 'Ada'})")


# "In production"

CTL = [
    shlex.split(line)[1:]
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("rabbitmqctl")
]


def test_the_permissions_are_enough(no_queue, add_user, start_server, run):
    passwords = {words[1]: words[2] for words in CTL if words[0] == "add_user"}
    urls = {
        name: add_user(name, passwords[name], *permissions)
        for command, name, *permissions in CTL
        if command == "set_permissions"
    }
    start_server(AMQP_URL=urls["rpc-server"])
    assert run("client.py", AMQP_URL=urls["rpc-client"]).exit_code() == 0


def test_the_virtual_host_has_a_quorum_queue(node, start_server, run):
    (add,) = [words for words in CTL if words[0] == "add_vhost"]
    node.ctl(*add)
    node.ctl("set_permissions", "-p", "rpc", "tester", ".*", ".*", ".*")
    start_server(AMQP_URL=f"{node.url}/rpc")
    assert "rpc_queue\tquorum" in node.ctl("list_queues", "-p", "rpc", "name", "type")
    assert run("client.py", AMQP_URL=f"{node.url}/rpc").exit_code() == 0
