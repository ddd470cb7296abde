"""README: its commands, outputs and programs, as they stand. .ci/readme runs its Docker blocks."""

import re
import shlex

from harness import ROOT, fails_in_one_line

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """Return README's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


LINES = [line for block in blocks("sh") for line in block.splitlines()]
OUTPUTS = blocks("")


# "Run it", "Break it"


def test_with_and_without_a_server(idle_queue, run):
    serving, calling, _ = re.findall(r"^\.venv/bin/python (\S+)", README, re.MULTILINE)
    without = run(calling, "--timeout", "2")
    assert fails_in_one_line(without)
    assert without.out + without.err == OUTPUTS[1].replace("10 s", "2 s")
    run(serving)
    with_server = run(calling, "--timeout", "60")
    assert with_server.exit_code() == 0
    assert with_server.out == OUTPUTS[0]


# "Use it"


def test_the_program_prints_the_number(server, run):
    program, _ = blocks("python")
    running = run("-c", program)
    assert running.exit_code() == 0
    assert running.out == "832040\n"


def test_the_pool_keeps_clients_that_got_an_answer_and_no_others(server, run):
    _, program = blocks("python")
    calls = """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(4) as threads:
    print(list(threads.map(fib, [30] * 40)) == [832040] * 40)
print(1 <= pool.qsize() <= 4)
while pool.qsize() > 1:
    pool.get()
try:
    fib(-1)
except RpcError:
    print(pool.qsize())
(client,) = pool.queue
client.close()
client.parameters.port, client.timeout = 1, 0.01
try:
    fib(30)
except TimeoutError:
    print(pool.qsize())
print(fib(30))
"""
    running = run("-c", program + calls)
    assert running.exit_code() == 0
    assert running.out == "True\nTrue\n1\n0\n832040\n"


# "Production"

CTL = [shlex.split(line)[1:] for line in LINES if line.startswith("rabbitmqctl")]


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
        server = start_server(AMQP_URL=url)
        assert "rpc_queue\tquorum" in node.ctl("list_queues", "-p", "rpc", "name", "type")
        assert run("client.py", AMQP_URL=url).exit_code() == 0
        assert "Cannot declare" not in server.out
    finally:
        node.ctl("delete_vhost", "rpc")


def test_the_connection_has_its_name(node, no_queue, start_server):
    (query,) = re.findall(r"`(\?client_properties=[^`]*)`", README)
    start_server(AMQP_URL=node.url + query)
    assert '"connection_name","rpc-server"' in node.ctl("list_connections", "client_properties")


def test_the_authority_can_stand_in_the_url(node, no_queue, start_server):
    (query,) = re.findall(r"`(\?ssl_options=[^`]*)`", README)
    query = query.replace("ca.pem", str(node.authority))
    start_server(AMQP_URL=f"amqps://guest:guest@127.0.0.1:{node.tls_port}/%2F{query}")
