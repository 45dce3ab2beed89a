"""Both routers end to end: a real HTTP client follows redirects between the host's application and the provider."""

from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from tests.adapters.connect.applications import (
    CALLBACK,
    agree,
    client_of,
    django_app,
    django_urls,
    fastapi_app,
)

from vault_adapters import Account, VaultConfig, open_sync_vault
from vault_adapters.connect import Connector
from vault_adapters.connect.pages import is_local

ANA = Account("t1", "local", "user-1")


@pytest.fixture
def connector(vault, provider):
    return Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK)


async def test_an_account_is_connected(make_app, connector, vault):
    async with client_of(make_app(connector)) as browser:
        callback = await agree(browser, "http://localhost/connect/local?next=/settings%3Ftab=2")
        finished = await browser.get(callback)
    assert (finished.status_code, finished.headers["location"]) == (303, "/settings?tab=2")
    assert (finished.headers["cache-control"], finished.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert (await vault.get_account(ANA)).label == "Ana"
    assert not browser.cookies


async def test_the_cookie_is_for_the_callback_only(make_app, vault, provider):
    connector = Connector(vault, {"local": provider.refresher()}, redirect_uri="https://localhost/connect/callback")
    async with client_of(make_app(connector)) as browser:
        begun = await browser.post("http://localhost/connect/local")
    attributes = {part.strip().lower() for part in begun.headers["set-cookie"].split(";")[1:]}
    assert attributes >= {"path=/connect/callback", "httponly", "samesite=lax", "max-age=600", "secure"}


async def test_two_tabs(make_app, connector):
    async with client_of(make_app(connector)) as browser:
        one = await agree(browser, "http://localhost/connect/local?next=/one")
        two = await agree(browser, "http://localhost/connect/local?next=/two", "ben@example.com")
        assert (await browser.get(two)).headers["location"] == "/two"
        assert (await browser.get(one)).headers["location"] == "/one"


async def test_the_callback_of_another_browser(make_app, connector, vault):
    """An attacker sends the victim a callback with the attacker's code, to make the victim use the wrong account."""
    app = make_app(connector)
    async with client_of(app) as attacker, client_of(app) as victim:
        callback = await agree(attacker, "http://localhost/connect/local")
        await victim.post("http://localhost/connect/local")
        refused = await victim.get(callback)
        assert (refused.status_code, "state_refused" in refused.text) == (400, True)
        assert (await vault.list_accounts("t1")).items == ()
        state = dict(parse_qsl(urlsplit(callback).query))["state"]
        assert state not in refused.text
        assert (await attacker.get(callback)).status_code == 303


@pytest.mark.parametrize("changed", [{"x-tenant": "t2"}, {"x-session": "of another user"}], ids=["tenant", "session"])
async def test_another_user_signs_in_meanwhile(make_app, connector, vault, changed):
    async with client_of(make_app(connector)) as browser:
        callback = await agree(browser, "http://localhost/connect/local")
        refused = await browser.get(callback, headers=changed)
        assert (refused.status_code, "state_refused" in refused.text) == (400, True)
        assert [(await vault.list_accounts(tenant)).items for tenant in ("t1", "t2")] == [(), ()]


async def test_nobody_is_signed_in(make_app, connector):
    async with client_of(make_app(connector), **{"x-tenant": ""}) as browser:
        for method in ("GET", "POST"):
            assert (await browser.request(method, "http://localhost/connect/local")).status_code == 401
        assert (await browser.get("http://localhost/connect/callback?code=a&state=b")).status_code == 401


class Form(HTMLParser):
    """The form of a page, as a browser sends it when the user clicks the button."""

    def __init__(self, page):
        super().__init__()
        self.sent, self.fields, self.buttons = None, {}, 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "form":
            self.sent = (found["method"].upper(), found.get("action"))
        elif tag == "input":
            self.fields[found["name"]] = found["value"]
        self.buttons += tag == "button"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none", None])
async def test_a_get_begins_no_connection_but_shows_one_button(make_app, connector, vault, provider, site):
    async with client_of(make_app(connector)) as browser:
        headers = {} if site is None else {"Sec-Fetch-Site": site}
        url = "http://localhost/connect/local?next=/settings"
        page = await browser.get(url, headers=headers)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin", "or the form's request has no Origin"
        assert not any(cookie.startswith("token_vault") for cookie in browser.cookies)
        form = Form(page.text)
        assert (form.sent, form.buttons) == (("POST", None), 1)  # without an action, a form is sent to its page
        begun = await browser.post(url, data=form.fields, headers={"Sec-Fetch-Site": "same-origin"})
        agreed = await browser.get(begun.headers["location"] + "&answer=ana@example.com")
        assert (await browser.get(agreed.headers["location"])).headers["location"] == "/settings"


async def test_a_get_for_an_unknown_provider_shows_no_button(make_app, connector):
    async with client_of(make_app(connector)) as browser:
        page = await browser.get("http://localhost/connect/%3Cb%3E")
        assert (page.status_code, "<b>" in page.text) == (404, False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 400),
        ({"Sec-Fetch-Site": "same-site"}, 400),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 400),
        ({"Sec-Fetch-Site": ""}, 400),
        ({"Origin": "http://evil.example"}, 400),
        ({"Origin": "http://localhost:8001"}, 400),
        ({"Origin": "https://localhost"}, 400),
        ({"Origin": "http://localhost.evil.example"}, 400),
        ({"Origin": "null"}, 400),
        ({"Origin": "http://["}, 400),
        ({"Origin": "http://localhost"}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "none"}, 303),
        ({}, 303),
    ],
)
async def test_a_page_of_another_site_begins_no_connection(make_app, connector, headers, status):
    async with client_of(make_app(connector)) as client:
        answer = await client.post("http://localhost/connect/local", headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, status == 303)


async def test_the_button_passes_djangos_own_check_of_forms(connector):
    from django.middleware.csrf import CsrfViewMiddleware
    from django.test import override_settings

    middleware = f"{CsrfViewMiddleware.__module__}.{CsrfViewMiddleware.__qualname__}"
    with override_settings(MIDDLEWARE=[middleware]):
        async with client_of(django_app(connector)) as browser:
            url = "http://localhost/connect/local"
            assert (await browser.post(url)).status_code == 403
            fields = Form((await browser.get(url)).text).fields
            assert (await browser.post(url, data=fields)).status_code == 303


async def test_a_preview_of_a_link_uses_nothing_up(make_app, connector, vault, provider):
    async with client_of(make_app(connector)) as browser:
        assert (await browser.head("http://localhost/connect/local")).status_code == 405
        assert not browser.cookies
        callback = await agree(browser, "http://localhost/connect/local")
        assert (await browser.head(callback)).status_code == 405
        assert provider.exchanged == 0
        assert (await browser.get(callback)).status_code == 303


async def test_the_user_refuses(make_app, connector):
    async with client_of(make_app(connector)) as browser:
        refused = await browser.get(await agree(browser, "http://localhost/connect/local", "deny"))
    assert (refused.status_code, "access_denied" in refused.text) == (403, True)


async def test_what_the_host_must_mend_is_logged(make_app, connector, provider, caplog):
    async with client_of(make_app(connector)) as browser:
        assert (await browser.post("http://localhost/connect/locale")).status_code == 404
        told = [record.getMessage() for record in caplog.records if record.name == "vault_adapters.connect.pages"]
        assert told == ["a request to connect an account is not valid: provider must be one of local"]
        caplog.clear()
        assert (await browser.get("http://localhost/connect/callback?error=access_denied")).status_code == 400
        told = [each for each in caplog.records if each.name == "vault_adapters.connect.pages"]
        assert [each.levelname for each in told] == ["INFO"] * len(told)  # the user's own matter


async def test_an_account_is_connected_again(make_app, connector, vault):
    async with client_of(make_app(connector)) as browser:
        await browser.get(await agree(browser, "http://localhost/connect/local"))
        again = await agree(browser, "http://localhost/connect/local?account=user-1", "ben@example.com")
        refused = await browser.get(again)
        assert (refused.status_code, "other_account" in refused.text) == (400, True)
        right = await agree(browser, "http://localhost/connect/local?account=user-1")
        assert (await browser.get(right)).status_code == 303
    assert [info.account for info in (await vault.list_accounts("t1")).items] == [ANA]


async def test_a_host_may_answer_itself(make_app, connector):
    seen = []

    def connected(request, info):
        seen.append(info.account)

    def failed(request, error):
        seen.append(error.code)
        from starlette.responses import PlainTextResponse

        if make_app is fastapi_app:
            return PlainTextResponse("sorry", 418)
        from django.http import HttpResponse

        return HttpResponse("sorry", status=418)

    async with client_of(make_app(connector, connected=connected, failed=failed)) as browser:
        assert (await browser.get(await agree(browser, "http://localhost/connect/local"))).status_code == 303
        sorry = await browser.get("http://localhost/connect/callback?code=a&state=b")
    assert (sorry.status_code, sorry.text, sorry.headers["cache-control"]) == (418, "sorry", "no-store")
    assert seen == [ANA, "state_refused"]


async def test_the_page_of_a_host_does_not_pass_on_the_code_in_its_address(make_app, connector):
    def connected(request, info):
        from django.http import HttpResponse
        from starlette.responses import PlainTextResponse

        response = PlainTextResponse("welcome") if make_app is fastapi_app else HttpResponse("welcome")
        response.headers["Cache-Control"] = "public"
        return response

    async with client_of(make_app(connector, connected=connected)) as browser:
        page = await browser.get(await agree(browser, "http://localhost/connect/local"))
    assert (page.status_code, page.text) == (200, "welcome")
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")


ELSEWHERE = [
    *("https://evil.example/", "//evil.example", "/\\evil.example", "\\/evil.example", "/\t/evil.example", "evil"),
    *("/a\\b", "/a b", "/a\nb", "javascript:alert(1)", "///evil.example", "/é"),
]


async def test_no_open_redirect(make_app, connector):
    async with client_of(make_app(connector)) as browser:
        answers = {
            path: await browser.post("http://localhost/connect/local", params={"next": path}) for path in ELSEWHERE
        }
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(ELSEWHERE, 400)


async def test_no_open_redirect_by_a_changed_cookie(make_app, connector):
    import base64

    evil = base64.urlsafe_b64encode(b"//evil.example").decode().rstrip("=")
    async with client_of(make_app(connector)) as browser:
        callback = await agree(browser, "http://localhost/connect/local?next=/fine")
        [(name, value)] = browser.cookies.items()
        browser.cookies.clear()
        finished = await browser.get(callback, headers={"cookie": f"{name}={value.partition('.')[0]}.{evil}"})
    assert (finished.status_code, finished.headers["location"]) == (303, "/done")


def test_what_is_local():
    assert all(is_local(path) for path in ("/", "/settings?a=1#b", "/a//b", "/%2F"))
    assert not any(is_local(path) for path in ("", None, "/" + "a" * 2000))


def test_django_under_wsgi_with_a_sync_vault(tmp_path, provider):
    """Under WSGI each request has an event loop of its own, so the vault must be a `SyncVault`."""
    secret = "the encryption secret of a wsgi application"
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret=secret, scrypt_log2_n=14)
    with open_sync_vault(config) as vault:
        django_urls(Connector(vault, {"local": provider.refresher()}, redirect_uri=CALLBACK))
        from django.core.handlers.wsgi import WSGIHandler

        transport = httpx2.WSGITransport(WSGIHandler())
        with httpx2.Client(mounts={"http://localhost": transport}, headers={"x-tenant": "t1"}, trust_env=False) as http:
            begun = http.post("http://localhost/connect/local")
            agreed = http.get(begun.headers["location"] + "&answer=ana@example.com")
            finished = http.get(agreed.headers["location"])
        assert (finished.status_code, finished.headers["location"]) == (303, "/done")
        assert vault.get_account(ANA).label == "Ana"
