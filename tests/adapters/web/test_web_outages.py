"""While the database is away, pages name the cause and show remembered numbers, instead of a server error."""

import re
import shutil
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from tests.adapters.web import sample
from tests.adapters.web.conftest import browsing
from tests.adapters.web.reading import Reader
from tests.adapters.web.test_web_pages import account_path
from tests.support.databases import SqliteFile
from tests.support.fault_proxy import fault_proxy

from vault_adapters import Account, HealthReport, StorageError, VaultConfig, generate_encryption_secret, open_vault
from vault_adapters.web import dashboard, reading

ACCOUNT = Account("tenant-1", "google", "owner@example.com")
PATHS = ["/", "/accounts", "/expiring", "/audit", "/keys", account_path(ACCOUNT)]


@pytest.fixture
async def losable(tmp_path):
    """A vault over a file of SQLite, and a function that makes the file unusable."""
    path = tmp_path / "vault.db"
    async with open_vault(SqliteFile(path).config(), refreshers=sample.refreshers()) as vault:
        await vault.store_token_set(ACCOUNT, sample.token_set("1"))

        def lose():
            for file in tmp_path.glob("vault.db*"):
                with file.open("r+b") as opened:
                    opened.write(b"\0" * file.stat().st_size)

        yield vault, lose


async def test_the_overview_of_a_copy_says_that_nothing_is_refreshed_until_it_is_adopted(tmp_path):
    original, copy = SqliteFile(tmp_path / "original.db"), tmp_path / "copy.db"
    async with open_vault(original.config()) as vault, browsing(dashboard(vault)) as client:
        assert "adopt" not in (await client.get("/")).text
    shutil.copy(tmp_path / "original.db", copy)
    async with open_vault(SqliteFile(copy).config()) as vault, browsing(dashboard(vault)) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert "it is read, but nothing is refreshed. If no vault uses the original any more" in Reader(page.text).text
        await vault.adopt()
        assert "adopt" not in (await client.get("/")).text


async def test_pages_show_the_cause_and_what_is_remembered(losable):
    vault, lose = losable
    async with browsing(dashboard(vault)) as client:
        for path in PATHS:
            assert (await client.get(path)).status_code == 200
        lose()
        for path in PATHS:
            answer = await client.get(path)
            page = Reader(answer.text).text
            assert answer.status_code == 503, path
            assert "The vault did not answer: storage" in page, path
            assert "This page shows what was known" in page, path
        assert "owner@example.com" in (await client.get(account_path(ACCOUNT))).text
        assert "1 accounts" in Reader((await client.get("/")).text).text


class Recorder:
    """Notes what a page asks a vault for."""

    def __init__(self, vault):
        self.vault = vault
        self.asked = []

    def __getattr__(self, name):
        self.asked.append(name)
        return getattr(self.vault, name)


async def test_the_page_of_an_account_waits_once(losable):
    """A second question would wait for the same database, which may be ten seconds more."""
    vault, lose = losable
    recorder = Recorder(vault)
    async with browsing(dashboard(lambda: recorder)) as client:
        await client.get(account_path(ACCOUNT))
        lose()
        recorder.asked.clear()
        page = Reader((await client.get(account_path(ACCOUNT))).text).text
    assert recorder.asked == ["get_account"]
    assert "Token stored" in page  # one of the account's remembered events


async def test_the_cause_is_that_of_the_real_database(postgres):
    with fault_proxy(postgres.create_database("dashboard")) as proxy:
        config = VaultConfig(
            proxy.url,
            encryption_secret=generate_encryption_secret(),
            scrypt_log2_n=14,
            storage_timeout=timedelta(seconds=1),
        )
        async with open_vault(config) as vault, browsing(dashboard(vault)) as client:
            await vault.store_token_set(ACCOUNT, sample.token_set("1"))
            for path in ["/", "/accounts"]:
                assert (await client.get(path)).status_code == 200
            proxy.refuse()
            proxy.reset()
            for path in ["/", "/accounts"]:
                answer = await client.get(path)
                page = Reader(answer.text).text
                assert answer.status_code == 503
                assert re.search("did not answer: storage: (connection_refused|connection_lost|timeout)", page), page
                assert "This page shows what was known" in page
                assert "tenant-1" in page or path == "/"


async def test_pages_that_nothing_is_remembered_of_say_so(losable):
    vault, lose = losable
    async with browsing(dashboard(vault, actions=True)) as client:
        lose()
        for path in PATHS:
            answer = await client.get(path)
            assert answer.status_code == 503, path
            assert "Nothing is remembered" in answer.text, path


class Gone:
    """Has two reads: `fail` cannot reach the database, and `value` succeeds."""

    async def fail(self):
        raise StorageError("the database cannot be reached", reason="connection_refused")

    async def value(self):
        return "value"


async def test_what_is_remembered_ends_with_time_and_number():
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    reader, gone = reading.Reader(lambda: now[0]), Gone()
    assert (await reader.ask("a", gone.value)).value == "value"
    now[0] += timedelta(minutes=14)
    answer = await reader.ask("a", gone.fail)
    assert (answer.value, answer.problem.reason) == ("value", "connection_refused")
    now[0] += timedelta(minutes=2)
    assert (await reader.ask("a", gone.fail)).value is None
    await reader.ask("first", gone.value)
    for number in range(200):
        await reader.ask(number, gone.value)
    assert (await reader.ask("first", gone.fail)).value is None


class Standby:
    """A vault whose database takes no writes."""

    report = HealthReport(store_error="storage", store_reason="read_only", store_time=datetime(2026, 1, 1, tzinfo=UTC))

    async def health(self):
        return self.report


async def test_a_standby_shows_what_it_counts_now():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    reader, standby = reading.Reader(lambda: now), Standby()
    answer = await reader.health(standby)
    assert (answer.value, answer.problem.reason, answer.known_at) == (standby.report, "read_only", now)
    assert answer.problem.message == "the database takes no writes"


class Changing:
    """A vault that counts, then counts nothing because its database is away, and then does not answer."""

    reports = (HealthReport(failed_reads=3), HealthReport(store_error="storage", store_reason="connection_refused"))

    def __init__(self):
        self._rest = [*self.reports]

    async def health(self):
        return self._rest.pop(0) if self._rest else await anyio.sleep_forever()


async def test_a_report_without_counts_does_not_replace_the_one_with_counts(monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_WAIT", 0.05)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    reader, vault = reading.Reader(lambda: now), Changing()
    answers = [await reader.health(vault) for _ in range(3)]
    assert [answer.value.failed_reads for answer in answers] == [3, 3, 3]
    reasons = [answer.problem and answer.problem.reason for answer in answers]
    assert reasons == [None, "connection_refused", "timeout"]
    assert [answer.known_at for answer in answers] == [None, now, now]


async def test_a_vault_that_never_answers_does_not_hold_a_page(monkeypatch, vault):
    monkeypatch.setattr(reading, "LONGEST_WAIT", 0.05)

    async def forever():
        await anyio.sleep_forever()

    answer = await reading.Reader().ask("a", forever)
    assert (answer.problem.code, answer.problem.reason) == ("storage", "timeout")
