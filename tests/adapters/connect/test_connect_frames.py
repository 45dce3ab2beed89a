"""What a traceback of the connection pages shows: no code, no state, no cookie, no session of the host."""

import logging
import sys
from urllib.parse import urlsplit

import pytest
from tests.adapters.connect.applications import CALLBACK, agree, client_of, fastapi_app
from tests.adapters.connect.browser import parameters
from tests.security.reporters import reports

from vault_adapters import StateRefusedError
from vault_adapters.connect import Connector
from vault_adapters.connect.pages import Pages

SESSION = "canary-session-8c1d"
COOKIE = "canary-cookie-77aa"


@pytest.fixture
def connector(vault, provider):
    return Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK)


def page(make_app, text):
    from django.http import HttpResponse
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(text) if make_app is fastapi_app else HttpResponse(text)


def frames_of_ours(error):
    """The locals of all frames of the vault in the tracebacks of an error and of what it hides."""
    seen = []
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_globals["__name__"].startswith(("vault_adapters.", "vault_domain.")):
                seen.append(dict(traceback.tb_frame.f_locals))
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__
    return seen


def shows(secrets, error):
    """The secrets that an error tracker would send, and those that frames of the vault hold."""
    held = repr(frames_of_ours(error))
    texts = [*reports(error, skip=("/site-packages/",)).values(), held]
    return [text for text in secrets if any(text in shown for shown in texts)]


async def test_the_page_of_an_error_gets_an_error_without_the_request(make_app, connector, provider):
    """The host's function `failed` may give its error to an error tracker."""
    found, kept = [], []

    def failed(request, error):
        kept.append((error.code, shows(secrets, error), frames_of_ours(error)))
        return page(make_app, "sorry")

    headers = {"x-session": SESSION}
    async with client_of(make_app(connector, failed=failed), **headers) as browser:
        secrets = [SESSION, COOKIE]
        await browser.post("http://localhost/connect/lokal")
        for spoil in ("state", "session", "secret", "deny"):
            user = "deny" if spoil == "deny" else "ana@example.com"
            back = await agree(browser, "http://localhost/connect/local", user)
            sent, cookies = parameters(urlsplit(back).query), dict(browser.cookies)
            secrets = [SESSION, COOKIE, sent["state"], sent.get("code", "no code"), *cookies.values()]
            found += [secret for secret in secrets if len(secret) > 10]
            if spoil == "state":
                browser.cookies.clear()
            if spoil == "secret":
                provider.client_secret = "another"
            own = {"x-session": "canary-session-of-another"} if spoil == "session" else {}
            secrets.append("canary-session-of-another")
            await browser.get(back, headers={**own, **({"cookie": f"other={COOKIE}"} if spoil == "state" else {})})
    assert [code for code, _, _ in kept] == [
        *("provider_unknown", "state_refused", "state_refused", "provider_configuration", "authorization_refused")
    ]
    assert [(leaks, frames) for _, leaks, frames in kept] == [([], [])] * 5
    assert len(found) > 12


async def test_a_function_of_the_host_that_fails_shows_the_hosts_frames_only(make_app, connector, caplog):
    """The error passes through the view; what is left of the view holds nothing of the request."""

    def connected(request, info):
        raise KeyError("a mistake of the host")

    def failed(request, error):
        raise LookupError("another mistake of the host")

    async with client_of(make_app(connector, connected=connected, failed=failed), **{"x-session": SESSION}) as browser:
        for kind, user in ((KeyError, "ana@example.com"), (LookupError, "deny")):
            back = await agree(browser, "http://localhost/connect/local", user)
            sent = parameters(urlsplit(back).query)
            secrets = [SESSION, sent["state"], sent.get("code", "no code"), *dict(browser.cookies).values()]
            error = await raised(browser, back, caplog)
            assert type(error) is kind
            frames = frames_of_ours(error)
            assert len(frames) == 1
            assert not any(secret in repr(frames) for secret in secrets)
            assert not any("request" in name or "session" in name for frame in frames for name in frame)


async def raised(browser, url, caplog):
    """The error of a request: Starlette raises it, and Django logs it."""
    caplog.clear()
    with caplog.at_level(logging.ERROR, "django.request"):
        try:
            await browser.get(url)
        except Exception:
            return sys.exc_info()[1]
    return next(record.exc_info[1] for record in caplog.records if record.exc_info)


async def test_the_pages_themselves_drop_what_they_were_given(connector):
    secrets = [SESSION, COOKIE, "canary-state-12", "canary-code-34"]
    query = "state=canary-state-12&code=canary-code-34"
    with pytest.raises(StateRefusedError) as caught:
        await Pages(connector, "/").finish("local", "t1", query, {"a": COOKIE}, SESSION)
    assert shows(secrets, caught.value) == []
