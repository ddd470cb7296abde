"""README is true: its commands exist, its code runs, and its outputs are what the scripts print."""

import inspect
import re
import shlex
import signal

import pytest

import client
import server
from client import FibonacciRpcClient
from conftest import AWAITING, ROOT, in_thread, until

README = (ROOT / "README.md").read_text()
SCRIPTS = (ROOT / "server.py").read_text() + (ROOT / "client.py").read_text()


def section(title):
    """Return README's text from a heading to the next one of its level or above."""
    text = re.split(rf"^(##+) {re.escape(title)}$", README, flags=re.MULTILINE)
    assert len(text) == 3, title
    return re.split(rf"^##{{1,{len(text[1]) - 1}}} ", text[2], flags=re.MULTILINE)[0]


def blocks(language, text=README):
    """Return the fenced blocks of a language in a text."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for its_language, block in found if its_language == language]


def command_lines(text=README):
    """Return the commands of a text's shell blocks: each line, or a whole block with "-c"."""
    found = []
    for block in blocks("sh", text):
        found += [block] if "-c '" in block else block.splitlines()
    return found


def commands(text):
    """Return the commands of a text's shell blocks, each as its words."""
    return [shlex.split(line, comments=True) for line in command_lines(text)]


def arguments(words):
    """Return what a command of README gives to python."""
    assert words[0] == ".venv/bin/python"
    return words[1:]


PYTHON = [line for line in command_lines() if line.startswith(".venv/bin/") and "\n" not in line]


@pytest.mark.parametrize("command", PYTHON)
def test_the_python_commands_name_what_exists(command):
    program, *words = shlex.split(command, comments=True)
    assert program in (".venv/bin/python", ".venv/bin/pip", ".venv/bin/pytest")
    for word in words:
        assert word in ("install", "-r", "--timeout") or word.isdigit() or (ROOT / word).is_file()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"docker compose [^`#\n]+", README))))
def test_the_compose_commands_name_services_that_exist(command):
    services = re.findall(r"^  ([a-z]+):", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    action, *words = shlex.split(command)[2:]
    assert action in ("run", "up", "down", "logs", "stop", "restart", "exec")
    names = [word.partition("=")[0] for word in words if word[0] != "-"]
    assert set(names) <= {*services, "100"}


def test_the_variables_of_the_ports_are_those_of_the_compose_file():
    variables = re.findall(r"([A-Z_]+_PORT)=", README)
    assert len(variables) == 2
    for variable in variables:
        assert f"${{{variable}:-" in (ROOT / "docker-compose.yml").read_text()


def test_the_commands_of_the_tests_are_those_that_the_projects_check_runs():
    (without_docker,) = [b for b in blocks("sh", section("Tests")) if "pytest" in b]
    check = (ROOT / ".ci" / "run").read_text().splitlines()
    lines = without_docker.splitlines()
    assert {line.replace("install -r", "install -q -r") for line in lines} <= set(check)


def test_the_output_blocks_are_what_the_scripts_print(channel, run):
    client_output, server_output = blocks("", section("Run it"))
    serving = run("server.py")
    serving.says(AWAITING)
    calling = run("client.py")
    assert calling.exit_code() == 0
    assert calling.out == client_output
    until(lambda: serving.out == server_output)


def test_the_defaults_and_limits_are_those_of_the_code():
    timeout = inspect.signature(client.FibonacciRpcClient).parameters["timeout"].default
    options = section("Options")
    assert f"By default, n is 30 and the timeout is {timeout:g} seconds" in options
    assert f"with n up to {server.MAX_N}" in options
    assert 'or "amqp://guest:guest@localhost:5672/%2F"' in SCRIPTS
    assert "`amqp://guest:guest@localhost:5672/%2F`" in options
    assert "min(0.2," in SCRIPTS
    assert "retries after 0.2 seconds" in README


def table(title):
    """Return the rows of the table in a section, each as its cells."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_code_that_readme_quotes_stands_in_the_scripts():
    texts = [section("Code walkthrough"), section("Files")]
    texts += [pair for _, pair, _ in table("Differences from the tutorial")]
    quoted = re.findall(r"`([^`\n]+)`", "\n".join(texts))
    assert len(quoted) > 20
    for code in quoted:
        assert code in SCRIPTS or (ROOT / code).exists(), code


def test_the_link_targets_are_headings():
    headings = re.findall(r"^##+ (.*)$", README, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= anchors


def test_the_scripts_refer_to_sections_that_exist():
    titles = re.findall(r'"([^"\n]*)" in the README', SCRIPTS)
    assert len(titles) == SCRIPTS.count("README") == 4
    for title in titles:
        section(title)


# The experiments of "Break it"


def test_experiment_1_the_client_starts_first(channel, run):
    first, second = commands(section("1. Start the client first"))
    calling = run(*arguments(first))
    calling.says(" [x] Requesting fib(30)")
    run(*arguments(second))
    assert calling.exit_code() == 0
    assert calling.out.endswith(" [.] Got 832040\n")


def test_experiment_2_a_server_is_killed_while_it_works(channel, run):
    text = section("2. Kill a server during a request (not on Windows)")
    first, call, second, kill = commands(text)
    suspended = run(*arguments(first))
    suspended.says(AWAITING)
    suspended.process.send_signal(signal.SIGSTOP)  # what Ctrl-Z does, where a terminal is
    calling = run(*arguments(call))
    calling.says(" [x] Requesting fib(30)")
    other = run(*arguments(second))
    other.says(AWAITING)
    assert kill == ["kill", "-9", "%1"]
    suspended.stop(signal.SIGKILL)
    assert calling.exit_code() == 0
    assert calling.out.endswith(" [.] Got 832040\n")
    assert [other.out] == blocks("", text)


def test_experiment_3_a_restart_of_rabbitmq_costs_no_server_no_idle_client_and_no_call_that_waits(
    node, client, server, run
):
    text = section("3. Restart RabbitMQ")
    ((*_, program),) = commands(text)
    (expected,) = blocks("", text)
    assert client.call(10) == 55
    calling = run("-c", program)
    calling.says("832040")
    server.process.send_signal(signal.SIGSTOP)  # so that a call waits
    with FibonacciRpcClient(node.url, timeout=40) as waiting:
        answer = in_thread(waiting.call, 30)
        until(lambda: "1" in node.ctl("-q", "list_queues", "messages_unacknowledged").split())
        impatient = run("client.py", "--timeout", "3")
        impatient.says(" [x] Requesting fib(30)")
        node.stop()
        server.process.send_signal(signal.SIGCONT)
        assert impatient.exit_code(seconds=4) == 1
        assert impatient.err.startswith(" [!] No reply within 3 s: ")
        assert "is RabbitMQ running" in impatient.err
        assert impatient.err.count("\n") == 1
        answers = calling.out.count("832040")
        node.start()
        assert until(lambda: answer) == [832040]
    assert client.call(20) == 6765
    until(lambda: calling.out.count("832040") >= answers + 2)
    assert set(calling.out.split()) == {"832040"}
    closed, refused, awaiting = expected.splitlines()
    assert server.err.splitlines()[0] == closed
    assert refused in server.err.splitlines()
    assert server.out.splitlines().count(awaiting) == 2


def test_experiment_4_something_that_is_not_a_number(server, run):
    text = section("4. Send an invalid request")
    ((*_, program),) = commands(text)
    sending = run("-c", program)
    assert sending.exit_code() == 0
    assert [sending.out] == blocks("", text)
    assert server.process.poll() is None


def test_experiment_5_all_servers_have_stopped(server, run):
    text = section("5. Stop all servers")
    (call,) = commands(text)
    server.stop(signal.SIGINT)
    calling = run(*arguments(call))
    assert calling.exit_code() == 1
    assert [calling.out + calling.err] == blocks("", text)


# The programs of "Use it in your own program"


def test_the_program_of_four_lines_prints_what_readme_says(server, run):
    program = blocks("python", section("Use it in your own program"))[0]
    running = run("-c", program)
    assert running.exit_code() == 0
    assert f"This prints `{running.out.strip()}`" in README


def test_each_thread_gets_a_client_of_its_own(server, run):
    (program,) = blocks("python", section("Threads, Flask and Django"))
    calls = """
def work():
    assert rpc_client() is rpc_client()
    clients.append(rpc_client())
    print(rpc_client().call(30))

clients = []
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(set(clients)) == 3
"""
    running = run("-c", program + calls)
    assert running.exit_code() == 0
    assert running.out == "832040\n" * 3


def changed(script, diff):
    """Return a script with README's changes; each of them must match exactly one place."""
    text = (ROOT / script).read_text()
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
        new = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_changes_for_a_function_of_ones_own_with_json_work(channel, run, tmp_path):
    text = section("Your own function, with JSON")
    for script, diff in zip(("server.py", "client.py"), blocks("diff", text), strict=True):
        (tmp_path / script).write_text(changed(script, diff))
    run(str(tmp_path / "server.py")).says(AWAITING)
    call, value = re.search(r"`client\.(call\(.*\))` now returns `([^`]*)`", text).groups()
    program = f"""
import json, sys
sys.path.insert(0, {str(tmp_path)!r})
from client import FibonacciRpcClient, RpcError
with FibonacciRpcClient() as client:
    print(json.dumps(client.{call}))
    try:
        client.call(name="Ada", nonsense=1)
    except RpcError as error:
        print(error)
"""
    calling = run("-c", program)
    assert calling.exit_code() == 0
    answer, error = calling.out.splitlines()
    assert answer == value
    assert "unexpected keyword argument 'nonsense'" in error


def test_the_asyncio_program_gets_its_answers_from_the_server(server, run):
    text = section("asyncio")
    (program,) = blocks("python", text)
    running = run("-W", "error", "-c", program)
    assert running.exit_code() == 0
    assert running.err == ""
    assert f"This prints `{running.out.strip()}`" in text


# The table of what happens when


def exit_code(event):
    """Return the exit code in the row of "What happens when …" that starts so."""
    (row,) = [row for row in table("What happens when …") if row[0].startswith(event)]
    return row[-1]


NOBODY = "amqp://guest:guest@127.0.0.1:1/%2F"
EVENTS = {
    "no server is running": (["--timeout", "0.5"], {}),
    "RabbitMQ is not running": ([], {"AMQP_URL": NOBODY}),
}


@pytest.mark.parametrize("event", EVENTS)
def test_the_exit_codes_of_readme_are_those_of_the_client(channel, run, event):
    words, environment = EVENTS[event]
    assert str(run("client.py", *words, **environment).exit_code()) == exit_code(event)


def test_the_exit_codes_of_readme_for_signals_are_those_that_a_shell_shows():
    assert exit_code("Ctrl-C or SIGTERM") == f"{128 + signal.SIGINT} or {128 + signal.SIGTERM}"


USERS, VIRTUAL_HOST = [
    [shlex.split(line)[1:] for line in block.splitlines()]
    for block in blocks("sh")
    if block.startswith("rabbitmqctl")
]


def test_the_permissions_of_readme_are_enough(node, channel, run):
    passwords = {words[1]: words[2] for words in USERS if words[0] == "add_user"}
    for words in USERS:
        node.ctl(*words)
    try:
        urls = {
            user: node.url.replace("guest:guest", f"{user}:{password}")
            for user, password in passwords.items()
        }
        run("server.py", AMQP_URL=urls["rpc-server"]).says(AWAITING)
        calling = run("client.py", AMQP_URL=urls["rpc-client"])
        assert calling.exit_code() == 0
        assert calling.out.endswith(" [.] Got 832040\n")
    finally:
        for user in passwords:
            node.ctl("delete_user", user)


def test_a_virtual_host_made_as_readme_says_gives_the_server_a_quorum_queue(node, run):
    assert len(VIRTUAL_HOST) == 2
    for words in VIRTUAL_HOST:
        node.ctl(*words)
    try:
        url = node.url.replace("%2F", "rpc")
        assert "`amqp://guest:guest@localhost:5672/rpc`" in README
        run("server.py", AMQP_URL=url).says(AWAITING)
        assert "rpc_queue\tquorum" in node.ctl("list_queues", "-p", "rpc", "name", "type")
        calling = run("client.py", AMQP_URL=url)
        assert calling.exit_code() == 0
        again = run("server.py", AMQP_URL=url)
        again.says(AWAITING)
        assert again.err == ""
    finally:
        node.ctl("delete_vhost", "rpc")
