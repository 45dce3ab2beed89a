"""The pages show all facts that an operator looks for, whole and escaped, and no secret."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.adapters.web import sample
from tests.adapters.web.conftest import browsing
from tests.adapters.web.reading import Reader

from vault_adapters import Account, TokenSet
from vault_adapters.testing import ManualClock, memory_vault
from vault_adapters.web import dashboard
from vault_adapters.web.census import Census
from vault_adapters.web.charts import columns, scale, shares

PAGES = [
    "/",
    "/?span=7d",
    "/accounts",
    "/accounts?tenant=hostile",
    "/expiring",
    "/expiring?within=30d",
    "/audit",
    "/keys",
]


def account_path(account, page="/account"):
    named = {"tenant": account.tenant_id, "provider": account.provider, "identifier": account.identifier or ""}
    return f"{page}?{urlencode(named)}"


async def test_each_page_shows_what_it_is_for(vault, browser):
    await sample.fill(vault)
    overview = Reader((await browser.get("/")).text).text
    assert "Connected 30 accounts" in overview
    assert "Retrying 5 accounts" in overview
    assert "Must reconnect 2 accounts" in overview
    assert "salesforce Invalid client The provider refuses the OAuth client" in overview, "the incident is shown"
    assert "Check client id and secret" in overview
    assert "6 refreshed" in overview
    accounts = Reader((await browser.get("/accounts?state=reauthorization_required")).text)
    assert "team-1" in accounts.text
    assert "invalid_grant" in accounts.text
    assert "github" not in accounts.text
    expiring = Reader((await browser.get("/expiring?within=1h&provider=hubspot")).text)
    assert "team-0" in expiring.text
    assert "google" not in expiring.text
    audit = Reader((await browser.get("/audit")).text)
    assert "Token stored" in audit.text
    assert "billing-service" in audit.text
    keys = Reader((await browser.get("/keys")).text).text
    assert (await vault.keys.status()).master_keys[0].key_id in keys


async def test_an_attempt_that_is_due_is_not_shown_as_past():
    account, hour = Account("t1", "hubspot"), timedelta(hours=1)
    clock = ManualClock(datetime.now(UTC) - hour)
    async with memory_vault(refreshers=sample.refreshers(), clock=clock) as vault:
        await vault.store_token_set(account, sample.token_set("due"))
        await sample.failing(vault, account)
        async with browsing(dashboard(vault)) as browser:
            page = Reader((await browser.get(account_path(account))).text).text
    assert "Next attemptdue now" in page


async def test_accounts_of_all_tenants_are_found_by_a_text(vault, browser):
    account = Account("zz", "github", "ops@example.com")
    await sample.fill(vault)
    await vault.store_token_set(account, TokenSet("a"), label="<b>Owner 1 of Zed")
    for number in range(60):
        await vault.store_token_set(Account("many", "google", f"many{number:02}"), TokenSet("a"))
    found = (await browser.get("/accounts?text=%3CB%3Eowner&tenant=many")).text
    assert "&lt;b&gt;Owner 1 of Zed" in found
    assert "many" not in Reader(found).text
    assert "No account fits" in (await browser.get("/accounts?text=wner")).text
    refused = await browser.get("/accounts?text=%3C")
    assert (refused.status_code, "2 to 255 characters" in refused.text) == (400, True)
    first = (await browser.get("/accounts?text=many")).text
    onward = re.search('rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")
    shown = [set(re.findall(r"· (many\d\d)", Reader(text).text)) for text in (first, (await browser.get(onward)).text)]
    assert [len(names) for names in shown] == [50, 10]
    assert len(set.union(*shown)) == 60


async def test_the_audit_log_shows_the_latest_first_and_filters(vault, browser):
    account = Account("tenant-1", "google", "owner")
    await vault.store_token_set(account, sample.token_set("a"))
    await vault.store_token_set(Account("tenant-2", "google"), sample.token_set("b"))
    await vault.refresh_account(account)
    latest = Reader((await browser.get("/audit")).text).text
    rows = latest[latest.index("Actor") :]
    assert rows.index("Token refreshed") < rows.index("Token stored")
    oldest = Reader((await browser.get("/audit?order=oldest")).text).text
    rows = oldest[oldest.index("Actor") :]
    assert rows.index("Token stored") < rows.index("Token refreshed")
    filtered = Reader((await browser.get("/audit?tenant=tenant-1&action=token_refreshed&since=1h")).text).text
    rows = filtered[filtered.index("Actor") :]
    assert "Token refreshed" in rows
    assert "Token stored" not in rows
    assert "tenant-2" not in rows


async def test_the_chart_counts_each_event_once_however_often_it_is_shown(vault, browser):
    account = Account("tenant-1", "google", "owner")
    await vault.store_token_set(account, sample.token_set("a"))
    for expected in (1, 2, 3):
        await vault.refresh_account(account)
        for _ in range(2):
            assert f"{expected} refreshed" in Reader((await browser.get("/")).text).text


async def test_the_page_of_an_account_tells_its_story_newest_first(vault, browser):
    account = Account(sample.TENANTS[1], "google", "owner1@example.com")
    other = Account(sample.TENANTS[1], "google", "somebody-else")
    await vault.store_token_set(account, sample.token_set("a"), label="Owner")
    await vault.store_token_set(other, sample.token_set("b"))
    await vault.with_actor("worker").refresh_account(account)
    shown = Reader((await browser.get(account_path(account))).text).text
    timeline = shown[shown.index("Timeline") :]
    assert timeline.index("Token refreshed") < timeline.index("Token stored")
    assert "worker" in timeline
    assert "somebody-else" not in shown
    assert "Owner" in shown
    assert (await browser.get(account_path(Account("nobody", "google")))).status_code == 404


async def test_the_page_of_an_account_says_what_to_do(vault, browser):
    await sample.fill(vault)
    told = {}
    for number, provider in enumerate(["hubspot", "quickbooks", "hubspot", "quickbooks", "salesforce"]):
        account = Account(sample.TENANTS[number], provider, f"team-{number}")
        told[provider] = Reader((await browser.get(account_path(account))).text).text
    assert "The user must connect the account again. Somebody must act. Ask the user" in told["quickbooks"]
    assert "unavailable; refreshes are tried again. Nobody has to act. Nothing: the vault tries" in told["hubspot"]
    assert "refreshes are paused. Somebody must act. Check client id and secret" in told["salesforce"]
    well = Account(sample.TENANTS[1], "google", "owner1@example.com")
    page = Reader((await browser.get(account_path(well))).text)
    assert " act." not in page.text
    assert "Owner 1 google · owner1@example.com As of" in page.text
    assert page.text.startswith("Owner 1 · Token vault")


async def test_a_count_of_zero_has_no_colour(vault, browser):
    await vault.store_token_set(Account("t", "google"), TokenSet("a"))
    tiles = re.findall(r'class="tile (\w+)"[^>]*state=(\w+)', (await browser.get("/")).text)
    assert tiles == [("good", "connected"), ("plain", "retrying"), ("plain", "reauthorization_required")]


@pytest.mark.parametrize("text", [*sample.HOSTILE, "\u0000 no", "x" * 1000])
async def test_a_hostile_text_is_shown_as_text(vault, browser, text):
    if len(text) <= 255 and "\0" not in text:
        account = Account("hostile", "google", text)
        await vault.with_actor(text).store_token_set(account, sample.token_set("h"), label=text)
    for path in ["/accounts", account_path(Account("hostile", "google")) + f"{urlencode({'': text})[1:]}", "/audit"]:
        for query in ["", f"?{urlencode({'tenant': text, 'provider': text, 'state': text, 'after': text})}"]:
            page = Reader((await browser.get(path.split("?")[0] + query if query else path)).text)
            assert {tag for tag, _ in page.tags} & {"script", "object", "iframe", "style", "base"} == set()
            assert [a for a in page.all("img") if not a["src"].startswith("/static/")] == []
            assert [a for _, a in page.tags if any(name.startswith("on") or name == "style" for name in a)] == []
            assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x1b]", page.text)
            assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in page.links)


async def test_a_hostile_text_is_whole_and_its_link_leads_to_it(vault, browser):
    for text in sample.HOSTILE:
        await vault.store_token_set(Account("hostile", "google", text), sample.token_set("h"), label=text)
    page = Reader((await browser.get("/accounts?tenant=hostile")).text)
    links = {link for link in page.links if link.startswith("/account?")}
    assert len(links) == len(sample.HOSTILE)
    for link in links:
        assert (await browser.get(link)).status_code == 200
    assert sample.LONG in page.text
    assert "invoice\\u202egpj.exe" in page.text
    assert "\u05e9\u05dc\u05d5\u05dd" in page.text


async def test_no_page_holds_a_secret(vault, acting):
    await sample.fill(vault)
    account = Account(sample.TENANTS[1], "google", "owner1@example.com")
    for path in [*PAGES, account_path(account), account_path(account, "/ask/delete")]:
        answer = await acting.get(path)
        assert answer.status_code == 200, path
        assert sample.CANARY not in answer.text
        assert sample.CANARY not in str(answer.headers)


async def test_pages_are_paged_by_keys_and_each_row_comes_once(vault, browser):
    for number in range(120):
        await vault.store_token_set(Account(f"t{number:03}", "github"), TokenSet("gh", expires_in=600))
    seen, path = [], "/accounts?provider=github"
    while path:
        page = Reader((await browser.get(path)).text)
        seen += [word for word in page.text.split() if re.fullmatch(r"t\d{3}", word)]
        path = next((a["href"] for a in page.all("a") if a.get("rel") == "next"), None)
    assert seen == [f"t{number:03}" for number in range(120)]
    for path in ["/expiring?within=1h", "/audit?order=oldest"]:
        assert any(a.get("rel") == "next" for a in Reader((await browser.get(path)).text).all("a"))


async def test_all_links_hold_under_a_prefix(vault):
    await sample.fill(vault)
    site = Starlette(routes=[Mount("/ops/vault", dashboard(vault, actions=True))])
    async with browsing(site) as client:
        seen, waiting = set(), ["/ops/vault/"]
        while waiting:
            path = waiting.pop()
            answer = await client.get(path)
            assert answer.status_code == 200, path
            seen.add(path)
            if "text/html" not in answer.headers["content-type"]:
                continue
            page = Reader(answer.text)
            found = [a.get("href") or a.get("src") for tag, a in page.tags if tag in {"a", "link", "img"}]
            found += [a["action"] for a in page.all("form")]
            assert all(link.startswith(("/ops/vault/", "#")) for link in found), path
            kinds = {link.split("?")[0] for link in seen}
            waiting += [
                link
                for link in set(found)
                if link[0] != "#" and "/act/" not in link and link.split("?")[0] not in kinds and link not in waiting
            ]
        assert {"/ops/vault/keys", "/ops/vault/account", "/ops/vault/ask/delete"} <= {
            link.split("?")[0] for link in seen
        }


async def test_every_answer_has_the_headers_of_a_careful_page(vault, browser):
    for path in ["/", "/accounts", "/nothing", "/account", "/act/delete"]:
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    style = next(a["href"] for a in Reader((await browser.get("/")).text).all("link"))
    assert "immutable" in (await browser.get(style)).headers["cache-control"]


async def test_wrong_input_is_explained_and_not_repeated(browser):
    for path in [
        "/account",
        "/accounts?state=wrong-1234",
        "/accounts?provider=WRONG-1234%20",
        "/audit?order=oldest&after=wrong-1234",
    ]:
        answer = await browser.get(path)
        assert answer.status_code == 400, path
        assert "Not understood" in answer.text
        assert "wrong-1234" not in answer.text.lower()


async def test_a_census_goes_on_where_it_stopped(vault):
    for number in range(11):
        await vault.store_token_set(Account(f"t{number:02}", "github"), TokenSet("gh"))
    census = Census(budget=0, page=5)
    totals = [(await census.follow(vault)).total for _ in range(3)]
    assert totals == [5, 10, 11]
    assert (await census.follow(vault)).counted_at is not None


def test_charts_show_every_number():
    slots = [("00:00", {"refreshed": 1000, "failed": 1}), ("01:00", {}), ("02:00", {"failed": 3})]
    chart = columns(slots, ("refreshed", "failed"), every=1)
    assert [bar.kind for bar in chart.bars] == ["refreshed", "failed", "failed"]
    assert all(bar.height >= 2 and bar.y >= 0 for bar in chart.bars)
    assert [scale(most) for most in (0, 1, 2, 3, 7, 11, 41, 1001)] == [2, 2, 2, 4, 10, 20, 60, 2000]
    assert [bar.kind for bar in shares([("good", 100_000), ("warning", 0), ("bad", 1)])] == ["good", "bad"]
    assert shares([("good", 0)]) == ()


def test_one_failure_among_a_million_refreshes_is_seen():
    [_, failed] = columns([("00:00", {"refreshed": 10**6, "failed": 1})], ("refreshed", "failed"), every=1).bars
    assert failed.height >= 2


async def test_expiring_tokens_are_limited_to_the_span(vault, browser):
    await vault.store_token_set(Account("soon", "google"), TokenSet("a", expires_in=timedelta(minutes=30)))
    await vault.store_token_set(Account("later", "google"), TokenSet("a", expires_in=timedelta(hours=20)))
    assert "later" not in (await browser.get("/expiring?within=1h")).text
    assert "later" in (await browser.get("/expiring")).text


@pytest.mark.parametrize("name", ["request", "page", "self", "tenant", "query"])
async def test_a_parameter_of_any_name_does_no_harm(vault, browser, name):
    await sample.fill(vault)
    for page in ("accounts", "expiring", "audit"):
        onward = (await browser.get(f"/{page}?{name}=1&after=")).status_code
        assert onward == 200
