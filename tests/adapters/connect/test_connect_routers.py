"""Both routers end to end: a real HTTP client follows redirects between the host's application and the provider."""

from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from tests.adapters.connect.applications import CALLBACK, agree, client_of, django_urls, fastapi_app

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
        begun = await browser.get("http://localhost/connect/local")
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
        await victim.get("http://localhost/connect/local")
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
        assert (await browser.get("http://localhost/connect/local")).status_code == 401
        assert (await browser.get("http://localhost/connect/callback?code=a&state=b")).status_code == 401


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 400), ("same-site", 303), ("same-origin", 303), (None, 303)]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_of_another_site_begins_no_connection(make_app, connector, site, status, method):
    async with client_of(make_app(connector)) as client:
        headers = {} if site is None else {"Sec-Fetch-Site": site}
        answer = await client.request(method, "http://localhost/connect/local", headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, status == 303)


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
        assert (await browser.get("http://localhost/connect/locale")).status_code == 404
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
            path: await browser.get("http://localhost/connect/local", params={"next": path}) for path in ELSEWHERE
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
            begun = http.get("http://localhost/connect/local")
            agreed = http.get(begun.headers["location"] + "&answer=ana@example.com")
            finished = http.get(agreed.headers["location"])
        assert (finished.status_code, finished.headers["location"]) == (303, "/done")
        assert vault.get_account(ANA).label == "Ana"
