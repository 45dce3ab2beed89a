"""`connect`: the real command, a real browser's requests, and a provider on loopback."""

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from tests.adapters.cli.command import PROGRAM, heed_interrupts, quick_program, take_terminal
from tests.support.devices import Devices

from vault_adapters.testing.openid import openid_provider

MODULE = """
from vault_adapters.testing.openid import LoopbackOpenIdProvider
refreshers = {{"local": LoopbackOpenIdProvider({issuer!r}, client_secret={secret!r}).refresher()}}
"""


@pytest.fixture
def provider(token_vault):
    with openid_provider() as running:
        module = MODULE.format(issuer=running.issuer, secret=running.client_secret)
        (token_vault.folder / "connected.py").write_text(module)
        yield running


@contextmanager
def connecting(token_vault, *arguments, stdin=b"", program=None):
    """Run the command; yield the process and the address that it shows."""
    process = subprocess.Popen(
        [*(program or quick_program()), "connect", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=token_vault.folder,
        env=token_vault.environment(),
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads run here
    )
    try:
        process.stdin.write(stdin)
        process.stdin.close()
        first = process.stderr.readline().decode()
        assert first.startswith("Open this address"), (first, process.stderr.read())
        process.first = first
        yield process, process.stderr.readline().decode().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def ended(process):
    code = process.wait(timeout=60)
    return code, process.stdout.read().decode(), process.stderr.read().decode()


def visit(url, user):
    """Agree as a user, and follow the provider back to this machine; return the page there."""
    with httpx2.Client(trust_env=False, follow_redirects=True) as browser:
        return browser.get(f"{url}&{urlencode({'login_hint': user})}")


REGISTERED = ("local", "--refreshers", "connected:refreshers")


def test_an_account_is_connected_and_can_be_refreshed(token_vault, provider):
    with connecting(token_vault, *REGISTERED, "--tenant", "t1", "--json") as (process, url):
        asked = dict(parse_qsl(urlsplit(url).query))
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", asked["redirect_uri"])
        assert asked["code_challenge_method"] == "S256"
        page = visit(url, "ana@example.com")
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert "terminal" in page.text
        code, out, err = ended(process)
    assert (code, err) == (0, "")
    (info,) = json.loads(out)
    assert (info["tenant_id"], info["provider"], info["identifier"], info["label"]) == ("t1", "local", "user-1", "Ana")
    shown = token_vault("refresh", "t1", "local", "--identifier", "user-1", "--refreshers", "connected:refreshers")
    assert shown.code == 0
    assert (provider.exchanged, provider.refreshed) == (1, 1)
    assert json.loads(token_vault("audit", "--tenant", "t1", "--json").out)[0]["actor"] == "cli"


def test_the_command_says_what_it_stored(token_vault, provider):
    with connecting(token_vault, *REGISTERED) as (process, url):
        visit(url, "ben@example.com")
        code, out, _ = ended(process)
    assert code == 0
    assert re.search(r"default +local +user-2 +Ben +connected", out)


def test_a_refusal_stores_nothing(token_vault, provider):
    with connecting(token_vault, *REGISTERED) as (process, url):
        visit(url, "deny")
        code, out, err = ended(process)
    assert (code, out) == (14, "")
    assert "access_denied" in err
    assert err.count("\n") == 1
    assert token_vault("accounts", "--all", "--json").out.strip() == "[]"


def test_what_is_not_the_callback_ends_nothing(token_vault, provider):
    with connecting(token_vault, *REGISTERED) as (process, url):
        asked = dict(parse_qsl(urlsplit(url).query))
        base = asked["redirect_uri"]
        with httpx2.Client(trust_env=False) as browser:
            assert browser.get(base.replace("/callback", "/favicon.ico")).status_code == 404
            assert browser.get(f"{base}?code=c&state=other").status_code == 400
            assert browser.get(f"{base}?code=c&state={asked['state']}&state=other").status_code == 400
            assert browser.get(f"{base}?error=access_denied").status_code == 400
            assert browser.post(f"{base}?code=c&state={asked['state']}").status_code == 404
        assert process.poll() is None
        visit(url, "ana@example.com")
        assert ended(process)[0] == 0


@pytest.mark.real_scrypt
def test_the_port_can_be_chosen_and_an_interrupt_ends_the_wait(token_vault, provider):
    with connecting(token_vault, *REGISTERED, program=PROGRAM) as (_, url):
        port = urlsplit(dict(parse_qsl(urlsplit(url).query))["redirect_uri"]).port
    with connecting(token_vault, *REGISTERED, "--port", str(port), program=PROGRAM) as (process, url):
        assert urlsplit(dict(parse_qsl(urlsplit(url).query))["redirect_uri"]).port == port
        process.send_signal(signal.SIGINT)
        assert ended(process)[:2] == (130, "")


@pytest.mark.parametrize("secret", [b"canary-secret\n", b""])
def test_without_refreshers_the_client_of_a_profile_is_read_from_standard_input(token_vault, secret):
    with connecting(token_vault, "github", "--scope", "gist", stdin=b"my-client\n" + secret) as (_, url):
        asked = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith("https://github.com/login/oauth/authorize?")
        assert (asked["client_id"], "gist" in asked["scope"].split()) == ("my-client", True)
        assert "canary" not in url


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("other", "--refreshers", "connected:refreshers"), "", 2, "no such provider"),
        (("nowhere",), "id\nsecret\n", 3, "no profile"),
        (("github",), "", 2, "standard input"),
        (("github",), "canary\ncanary\ncanary\n", 2, "a line each"),
        (("stripe",), "id\ncanary\n", 2, "API key"),
        ((*REGISTERED, "--port", "70000"), "", 2, "port"),
        ((*REGISTERED, "--tenant", ""), "", 2, "tenant"),
    ],
)
def test_bad_input_is_one_clear_error(token_vault, provider, arguments, stdin, code, said):
    done = token_vault("connect", *arguments, stdin=stdin)
    assert (done.code, done.out) == (code, ""), done.stderr
    assert said in done.stderr
    assert "canary" not in done.stderr
    assert done.stderr.count("\n") == 1


def until(terminal, text):
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 65536)
    return shown.decode()


@pytest.mark.real_scrypt
def test_a_terminal_asks_for_the_client_and_does_not_show_its_secret(token_vault):
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "connect", "github"]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=token_vault.folder,
        env=token_vault.environment(),
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 - no threads run here
    )
    os.close(theirs)
    try:
        until(ours, b"Client id: ")
        os.write(ours, b"my-client\n")
        until(ours, b"public client): ")
        os.write(ours, b"canary-secret\n")
        shown = until(ours, b"code_challenge_method=S256")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "client_id=my-client" in shown
    assert "canary" not in shown


DEVICE = """
from vault_adapters.testing.openid import LoopbackOpenIdProvider
from vault_adapters.providers import refresher
from attrs import evolve
local = LoopbackOpenIdProvider({issuer!r}, client_secret={secret!r})
profile = evolve(local.profile(), device_authorization_url=local.issuer + "/device", authorization_url={url!r})
refreshers = {{"local": refresher(profile, local.client_id, local.client_secret)}}
"""


@pytest.mark.parametrize("options", [("--device",), ()])
@pytest.mark.parametrize("agrees", [True, False])
def test_a_code_on_another_device_connects_an_account(token_vault, options, agrees):
    with openid_provider(Devices) as provider:
        url = f"{provider.issuer}/authorize" if options else None
        module = DEVICE.format(issuer=provider.issuer, secret=provider.client_secret, url=url)
        (token_vault.folder / "connected.py").write_text(module)
        provider.results = ["authorization_pending", None if agrees else "access_denied"]
        with connecting(token_vault, *REGISTERED, *options) as (process, shown):
            assert process.first.strip().endswith("the code WDJB-MJHT")
            assert shown == f"{provider.issuer}/enter"
            code, out, err = ended(process)
    if agrees:
        assert (code, err) == (0, "")
        assert re.search(r"default +local +user-1 +Ana +connected", out)
    else:
        assert (code, out) == (14, "")
        assert "access_denied" in err


def test_a_provider_without_codes_for_devices_is_said(token_vault, provider):
    done = token_vault("connect", *REGISTERED, "--device")
    assert (done.code, done.out) == (3, "")
    assert "device_authorization_url" in done.stderr


def test_a_provider_that_cannot_be_discovered_is_said(token_vault):
    with openid_provider() as running:
        issuer = running.issuer
    module = f"from vault_adapters.providers import openid\nrefreshers = {{'corp': openid({issuer!r}, 'client')}}\n"
    (token_vault.folder / "connected.py").write_text(module)
    done = token_vault("connect", "corp", "--refreshers", "connected:refreshers")
    assert (done.code, done.out) == (14, "")
    assert "the provider gave no usable answer; start again (corp, connection_refused)" in done.stderr


@pytest.mark.parametrize(
    ("provider", "problem"), [("stripe", "token-vault store"), ("acme", "no profile of this name")]
)
def test_a_client_is_asked_for_only_where_there_is_something_to_connect(token_vault, provider, problem):
    done = token_vault("connect", provider, stdin="")
    assert done.code != 0
    assert problem in done.stderr
