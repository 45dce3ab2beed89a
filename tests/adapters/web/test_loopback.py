"""The dashboard of the command line accepts one browser, one link, and one name of this machine."""

import re
import signal
import socket
import subprocess
import sys

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from tests.adapters.cli.command import PROGRAM, CommandLine
from tests.adapters.cli.conftest import SECRET, variables_for
from tests.adapters.web.conftest import browsing

from vault_adapters.web.loopback import OneTimeDoor
from vault_adapters.web.serving import host_names

HOST = "127.0.0.1:8321"


@pytest.fixture
def door():
    return OneTimeDoor(PlainTextResponse("inside"), hosts=frozenset({HOST, "localhost:8321"}), cookie="c")


async def test_the_link_lets_one_browser_in_once(door):
    async with browsing(door, f"http://{HOST}") as first, browsing(door, f"http://{HOST}") as second:
        assert (await first.get("/")).status_code == 403
        assert (await first.head(door.path)).status_code == 403, "a preview does not use the link up"
        assert (await first.get("/open?key=wrong")).status_code == 403
        answer = await first.get(door.path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await first.get("/")).text == "inside"
        assert (await second.get(door.path)).status_code == 403
        assert (await second.get("/")).status_code == 403
        assert (await second.get("/", headers={"Cookie": b"c=\xe9"})).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "127.0.0.1", "127.0.0.1:80", ""])
async def test_a_foreign_name_of_this_machine_is_refused(door, host):
    async with browsing(door, f"http://{HOST}") as client:
        assert (await client.get(door.path, headers={"Host": host})).status_code == 421
        assert (await client.get(door.path)).status_code == 303, "and the link was not used up"
        assert (await client.get("/", headers={"Host": host})).status_code == 421
        assert (await client.get("/", headers={"Host": "LOCALHOST:8321"})).status_code == 200


@pytest.mark.parametrize(
    ("host", "port", "names"),
    [
        ("127.0.0.1", 8321, ["127.0.0.1:8321", "localhost:8321"]),
        ("localhost", 80, ["localhost:80", "localhost"]),
        ("127.0.0.1", 80, ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]),
        ("0:0:0:0:0:0:0:1", 8321, ["[::1]:8321", "localhost:8321"]),
        ("192.0.2.1", 8321, ["192.0.2.1:8321"]),
    ],
)
def test_the_names_are_those_that_browsers_send(host, port, names):
    """Browsers shorten an address of IPv6, and leave out port 80."""
    assert host_names(host, port) == names


async def test_answers_of_the_door_have_the_headers_too(door):
    async with browsing(door, f"http://{HOST}") as client:
        for path in ["/", door.path]:
            headers = (await client.get(path)).headers
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin"


@pytest.fixture
def token_vault(tmp_path):
    command = CommandLine(tmp_path, variables_for(tmp_path))
    assert command("init").code == 0
    return command


@pytest.mark.real_scrypt
def test_the_command_serves_until_it_is_stopped(token_vault):
    assert token_vault("store", "tenant-1", "google", "access_token", stdin="canary-value").code == 0
    process = subprocess.Popen(
        [*PROGRAM, "dashboard", "--port", "0", "--actions", "--actor", "ops"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=token_vault.environment(),
        cwd=token_vault.folder,
    )
    try:
        told = process.stdout.readline() + process.stdout.readline()
        link = re.search(r"http://127\.0\.0\.1:(\d+)/open\?key=\S+", told)
        with httpx2.Client(base_url=f"http://127.0.0.1:{link[1]}", follow_redirects=True, timeout=30) as client:
            assert client.get("/").status_code == 403
            overview = client.get(link[0])
            assert overview.status_code == 200
            assert "Actions allowed" in overview.text
            accounts = client.get("/accounts")
            assert "tenant-1" in accounts.text
            assert "canary-value" not in accounts.text
            assert SECRET not in accounts.text
            assert "uvicorn" not in str(accounts.headers)
            assert (
                '<dd class="id"><bdi>ops</bdi></dd>' in client.get("/ask/delete?tenant=tenant-1&provider=google").text
            )
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_taken_and_a_host_for_all_are_refused(token_vault):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = token_vault("dashboard", "--port", str(taken.getsockname()[1]))
    assert done.code == 3
    assert "cannot listen at this host and port" in done.stderr
    for host in ["0.0.0.0", "::", "::ffff:0.0.0.0", "example.com"]:
        done = token_vault("dashboard", "--port", "0", "--host", host)
        assert done.code == 2
        assert "host must be localhost or one IP address" in done.stderr


def test_a_missing_extra_is_named(token_vault):
    blocked = (
        "import sys; sys.modules['starlette'] = None; from vault_adapters.cli.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked, "dashboard"],
        capture_output=True,
        text=True,
        env=token_vault.environment(),
        timeout=60,
    )
    assert (done.returncode, "token-vault[web]" in done.stderr) == (3, True)
