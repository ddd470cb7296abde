"""README is true: its commands exist, and it prints what the scripts print."""

import inspect
import re
import shlex
import signal

import pytest

import client
import server
from conftest import ROOT, until

README = (ROOT / "README.md").read_text()
SCRIPTS = (ROOT / "server.py").read_text() + (ROOT / "client.py").read_text()


def blocks(language):
    """Return README's fenced blocks of a language, each as its lines."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for its_language, block in found if its_language == language]


def section(title):
    """Return README's text from a heading to the next one."""
    return re.split(r"^## ", README.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def rows(title):
    """Return the cells of each row of the table in a section, without the heading."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


COMMANDS = [line for block in blocks("sh") for line in block]
CLIENT_OUTPUT, SERVER_OUTPUT = blocks("")


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(".venv/bin/")])
def test_the_python_commands_name_what_exists(command):
    program, *arguments = shlex.split(command)
    assert program in (".venv/bin/python", ".venv/bin/pip", ".venv/bin/pytest")
    for argument in arguments:
        assert argument in ("install", "-r") or (ROOT / argument).is_file()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("docker compose ")])
def test_the_compose_commands_name_services_that_exist(command):
    services = re.findall(r"^  ([a-z]+):", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    action, *arguments = shlex.split(command)[2:]
    assert action in ("run", "up", "down", "logs")
    names = [argument.partition("=")[0] for argument in arguments if argument[0] != "-"]
    assert set(names) <= {*services, "100"}


def test_the_variables_of_the_ports_are_those_of_the_compose_file():
    for variable in re.findall(r"([A-Z_]+_PORT)=", README):
        assert f"${{{variable}:-" in (ROOT / "docker-compose.yml").read_text()


def test_the_commands_of_the_tests_are_those_that_the_projects_check_runs():
    commands = [block for block in blocks("sh") if block[-1] == ".venv/bin/pytest"]
    check = (ROOT / ".ci" / "run").read_text().splitlines()
    assert len(commands) == 1
    assert {line.replace("install -r", "install -q -r") for line in commands[0]} <= set(check)


def test_the_output_blocks_are_what_the_scripts_print(channel, run):
    serving = run("server.py")
    serving.says(SERVER_OUTPUT[0])
    calling = run("client.py")
    assert calling.exit_code() == 0
    assert calling.out.splitlines() == CLIENT_OUTPUT
    until(lambda: serving.out.splitlines() == SERVER_OUTPUT)


def test_the_program_of_five_lines_prints_what_readme_says(server, run):
    (program,) = blocks("python")
    running = run("-c", "\n".join(program))
    assert running.exit_code() == 0
    assert f"This prints `{running.out.strip()}`" in README


def test_the_defaults_are_those_of_the_code():
    default_timeout = inspect.signature(client.FibonacciRpcClient).parameters["timeout"].default
    text = section("Run it without Docker")
    assert f"SECONDS is {default_timeout:g}." in text
    assert "n is 30 unless" in text
    assert 'or "amqp://guest:guest@localhost:5672/%2F"' in SCRIPTS
    assert "`amqp://guest:guest@localhost:5672/%2F`" in text
    assert f"from 0 to {server.MAX_N}" in README


@pytest.mark.parametrize(
    "title", ["The walk along the scripts", "What the tutorial leaves open", "The files"]
)
def test_the_code_that_readme_quotes_stands_in_the_scripts(title):
    quoted = [
        code
        for code in re.findall(r"`([^`\n]+)`", section(title))
        if "(" in code or "=" in code or "_" in code
    ]
    for code in quoted:
        assert code in SCRIPTS or (ROOT / code).exists(), code


def test_the_link_targets_are_headings():
    headings = {
        heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= headings


def exit_code_in_readme(what_happens):
    """Return the last cell of the row of "What happens when" that starts so."""
    (row,) = [row for row in rows("What happens when") if row[0].startswith(what_happens)]
    return row[-1].removesuffix(" |"), row[3].strip("` ")


NOBODY = "amqp://guest:guest@127.0.0.1:1/%2F"
EXIT_CODES = {
    "no server was ever started": (["client.py", "--timeout", "1"], {}),
    "n is no number": (["client.py", "20001"], {}),
    "RabbitMQ is not there at the start": (["client.py"], {"AMQP_URL": NOBODY}),
    "`AMQP_URL` is malformed": (["server.py"], {"AMQP_URL": "nonsense"}),
    "wrong usage": (["client.py", "abc"], {}),
}


@pytest.mark.parametrize("what_happens", EXIT_CODES)
def test_the_exit_codes_and_messages_of_readme_are_those_of_the_scripts(channel, run, what_happens):
    arguments, environment = EXIT_CODES[what_happens]
    if what_happens == "n is no number":
        run("server.py").says(" [x] Awaiting RPC requests")
    code, message = exit_code_in_readme(what_happens)
    running = run(*arguments, **environment)
    assert str(running.exit_code()) == code
    if message.startswith("[!]"):
        said = running.err.replace("within 1 s", "within 10 s")
        assert said.startswith(f" {message.rstrip('…')}")


def test_ctrl_c_ends_both_with_the_exit_codes_of_readme(channel, start_server, run):
    code, _ = exit_code_in_readme("Ctrl-C or SIGTERM")
    channel.queue_declare("rpc_queue", durable=True)
    calling = run("client.py")
    until(lambda: channel.queue_declare("rpc_queue", passive=True).method.message_count)
    client_code = calling.stop(signal.SIGINT)
    assert f"server {start_server().stop(signal.SIGINT)}, client {client_code}" == code


def test_the_permissions_of_readme_are_enough(node, channel, run):
    commands = [shlex.split(c) for c in COMMANDS if c.startswith("rabbitmqctl")]
    passwords = {words[2]: words[3] for words in commands if words[1] == "add_user"}
    for words in commands:
        node.ctl(*words[1:])
    try:
        urls = {
            user: node.url.replace("guest:guest", f"{user}:{password}")
            for user, password in passwords.items()
        }
        run("server.py", AMQP_URL=urls["rpc-server"]).says(" [x] Awaiting RPC requests")
        calling = run("client.py", AMQP_URL=urls["rpc-client"])
        assert calling.exit_code() == 0
        assert calling.out.splitlines() == CLIENT_OUTPUT
    finally:
        for user in passwords:
            node.ctl("delete_user", user)
