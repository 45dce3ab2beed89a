"""The metrics and spans that OpenTelemetry gets from a vault, read from the SDK's exporters in memory."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta

import pytest
from attrs import evolve
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import StatusCode
from tests.security.canaries import leaks_in, make_canaries
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    ConfigurationError,
    DecryptionError,
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    TokenKind,
    TokenNotFoundError,
    TokenSet,
    open_sync_vault,
    open_vault,
)
from vault_adapters.telemetry import instrument, surveys
from vault_adapters.telemetry.table import METRICS, SPANS, SURVEYED
from vault_adapters.testing import ScriptedRefresher

ACCOUNT = Account("t1", "acme", "ann")
KEY = Account("t1", "other").key(TokenKind.API_KEY)
HOUR = timedelta(hours=1)


def answer(number=1, lifetime=3600):
    return TokenSet(f"access-{number}", f"refresh-{number}", expires_in=lifetime)


async def census_of(sdk):
    """Read the metrics until a census was taken, which the first read asks for."""
    async with asyncio.timeout(30):
        while sdk.value("token_vault.census.age") is None:  # noqa: ASYNC110 - nobody is told that it was taken
            await asyncio.sleep(0.01)


async def test_reads_by_what_answered(opening, sdk):
    async with opening(read_cache=timedelta(minutes=1)) as vault:
        await vault.store_token(KEY, "v")
        for _ in range(3):
            await vault.get_token(KEY)
        await vault.get_token(KEY, fresh=True)
        await vault.get_tokens([KEY, ACCOUNT.key(TokenKind.API_KEY)])
        cached = sdk.value("token_vault.reads", source="cache")
        assert cached >= 2
        assert sdk.value("token_vault.reads", source="database") == 3 - cached + 1 + 2
        assert sdk.value("token_vault.reads", source="none") == 0


async def test_the_outcomes_of_refreshes_with_their_durations(opening, sdk, clock):
    refresher = ScriptedRefresher(
        answer(), RefreshFailedError(reason="server_error"), ReauthorizationRequiredError(reason="invalid_grant")
    )
    async with opening(refresher) as vault:
        await vault.store_token_set(ACCOUNT, answer(0))
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-0"
        assert sdk.value("token_vault.wait.duration") is None  # a caller that gets the stored token does not wait
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
        clock.advance(2 * HOUR)
        with pytest.raises(RefreshFailedError):
            await vault.ensure_access_token(ACCOUNT)
        with pytest.raises(ReauthorizationRequiredError):
            await vault.refresh_account(ACCOUNT)
        for name in ("token_vault.refreshes", "token_vault.provider.request.duration"):
            done = "refreshed" if name == "token_vault.refreshes" else "done"
            assert sdk.value(name, provider="acme", outcome=done) == 1
            assert sdk.value(name, provider="acme", outcome="failed", type="server_error") == 1
            assert sdk.value(name, outcome="reauthorization_required", type="invalid_grant") == 1
            assert sdk.value(name) == 3
        assert sdk.value("token_vault.wait.duration", provider="acme") == 3
        assert sdk.value("token_vault.wait.duration", outcome="done") == 1
        [(_, point)] = [
            each for each in sdk.metrics()["token_vault.wait.duration"] if each[0]["token_vault.outcome"] == "done"
        ]
        assert point.explicit_bounds[0] < 0.01  # seconds, not milliseconds


async def test_spans_of_a_refresh_and_of_a_sweep(opening, sdk, clock):
    refresher = ScriptedRefresher(answer(), answer(2), RefreshFailedError(reason="server_error"))
    async with opening(refresher) as vault:
        await vault.store_token_set(ACCOUNT, answer(0))
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
        spans = sdk.spans()
        assert set(spans) == {f"token_vault.{name}" for name in ("ensure", "claim", "refresh", "exchange")}
        (ensure,), (claim,), (refresh,), (exchange,) = (
            spans[f"token_vault.{name}"] for name in ("ensure", "claim", "refresh", "exchange")
        )
        assert claim.parent.span_id == refresh.parent.span_id == ensure.context.span_id
        assert exchange.parent.span_id == refresh.context.span_id
        assert exchange.attributes["token_vault.provider"] == "acme"
        assert refresh.attributes["token_vault.outcome"] == "refreshed"
        clock.advance(HOUR)
        await vault.refresh_due()
        assert [span.attributes["token_vault.outcome"] for span in sdk.spans()["token_vault.sweep"]] == ["done"]
        assert sdk.value("token_vault.sweep.duration", outcome="done") == 1
        clock.advance(HOUR)
        with pytest.raises(RefreshFailedError):
            await vault.ensure_access_token(ACCOUNT)
        spans = sdk.spans()
        assert set(spans) == set(SPANS)
        for name in ("ensure", "refresh", "exchange"):
            assert spans[f"token_vault.{name}"][-1].status.status_code is StatusCode.ERROR
            assert not spans[f"token_vault.{name}"][-1].events  # no exception, whose text may hold a secret


@both_stores
async def test_accounts_and_what_is_due(opening, sdk, clock):
    async with opening(ScriptedRefresher()) as vault:
        for name in ("a", "b", "c"):
            await vault.store_token_set(Account("t1", "acme", name), answer())
        dead = await vault.get_refresh_token(Account("t1", "acme", "c"))
        await vault.mark_token_invalid(dead, "invalid_grant")
        await vault.store_token_set(Account("t1", "unrefreshed"), answer(lifetime=60))
        clock.advance(HOUR + timedelta(minutes=1))
        assert sdk.value("token_vault.account.count") is None  # the first read asks for the census
        await census_of(sdk)
        assert sdk.value("token_vault.account.count", provider="acme", state="connected") == 2
        assert sdk.value("token_vault.account.count", provider="acme", state="reauthorization_required") == 1
        assert sdk.value("token_vault.account.count", provider="unrefreshed") == 1
        assert sdk.value("token_vault.token.count", provider="acme", health="invalid") == 1
        due = sdk.value("token_vault.account.due", provider="acme")
        # A store may still count account c, whose credential is invalid, as due until a sweep has read it.
        assert due in (2, 3)
        assert sdk.value("token_vault.account.oldest_due", provider="acme") >= 60
        assert sdk.value("token_vault.account.due", provider="unrefreshed") is None  # nobody refreshes it here


async def test_the_census_is_not_taken_at_each_read(opening, sdk):
    async with opening() as vault:
        await census_of(sdk)
        await vault.store_token(KEY, "v")
        for _ in range(5):
            sdk.metrics()
            await asyncio.sleep(0.01)
        assert sdk.value("token_vault.account.count") is None
        assert sdk.value("token_vault.census.age") < surveys.LEAST_SECONDS


@both_stores
async def test_data_keys_pool_and_unreadable_values(opening, sdk, database):
    async with opening() as vault:
        await vault.store_token(KEY, "v")
        await vault.get_token(KEY)
        assert sdk.value("token_vault.data_key.cache.hits") >= 1
        assert sdk.value("token_vault.data_key.unwraps") == 1
        assert sdk.value("token_vault.data_key.cache.size") == 1
        most = sdk.value("db.client.connection.max")
        if database.kind == "postgres":
            assert most == 4
            assert 1 <= sdk.value("db.client.connection.count") <= 4
            assert sdk.value("token_vault.pool.waits") is not None
            await asyncio.gather(*(vault.get_token(KEY, fresh=True) for _ in range(40)))
            assert sdk.value("token_vault.pool.waits") >= 1
        else:
            assert most is None
        database.execute("UPDATE {token} SET blob = ?", (b"\x01" * 60,))
        with pytest.raises(DecryptionError):
            await vault.get_token(KEY)
        assert sdk.value("token_vault.decryption.failures") == 1


async def test_writes_to_the_journal(opening, sdk, clock, tmp_path):
    async with opening(ScriptedRefresher(answer()), journal_dir=tmp_path / "journal") as vault:
        await vault.store_token_set(ACCOUNT, answer(0))
        await vault.refresh_account(ACCOUNT)
        assert sdk.value("token_vault.journal.writes", provider="acme", outcome="stored") == 1
        assert sdk.value("token_vault.answers.waiting") == 0


async def test_without_a_journal_nothing_is_written_to_one(opening, sdk):
    async with opening(ScriptedRefresher(answer())) as vault:
        await vault.store_token_set(ACCOUNT, answer(0))
        await vault.refresh_account(ACCOUNT)
        assert sdk.value("token_vault.journal.writes") is None


async def test_no_attribute_holds_a_secret_a_tenant_or_an_identifier(opening, sdk, clock):
    """A provider answers with secrets in the places where codes are expected."""
    tenant, identifier, label, *secrets = make_canaries(12)
    account = Account(tenant, "acme", identifier)
    refresher = ScriptedRefresher(
        TokenSet(secrets[0], secrets[1], expires_in=3600),
        RefreshFailedError(secrets[2], reason=secrets[3]),
        ValueError(secrets[4]),
        ReauthorizationRequiredError(secrets[5], reason=secrets[6]),
    )
    async with opening(refresher) as vault:
        await vault.store_token_set(account, TokenSet(secrets[7], secrets[8], expires_in=3600), label=label)
        clock.advance(HOUR)
        await vault.refresh_due()
        for error in (RefreshFailedError, RefreshFailedError, ReauthorizationRequiredError):
            with pytest.raises(error):
                await vault.refresh_account(account)
        await census_of(sdk)
        text = sdk.reader.get_metrics_data().to_json() + "".join(
            span.to_json() for span in sdk.exporter.get_finished_spans()
        )
        assert "token_vault.refreshes" in text
        assert "reauthorization_required" in text
        assert leaks_in(text) == []
        allowed = {name for metric in METRICS for name in metric.attributes}
        found = {key for points in sdk.metrics().values() for attributes, _ in points for key in attributes}
        assert found <= allowed


async def test_a_provider_that_only_a_caller_names_is_no_attribute(opening, sdk):
    """A host may take the name from a request; each name would be a series of its own, and may be anything."""
    async with opening(ScriptedRefresher()) as vault:
        for name in ("acme", "sk-live-1", "sk-live-2"):
            with pytest.raises(TokenNotFoundError):
                await vault.ensure_access_token(Account("t1", name))
        waits = [attributes for attributes, _ in sdk.metrics()["token_vault.wait.duration"]]
        assert {each.get("token_vault.provider") for each in waits} == {"acme", None}
        assert sdk.value("token_vault.wait.duration", outcome="not_connected") == 3
        assert "sk-live" not in "".join(span.to_json() for span in sdk.spans()["token_vault.ensure"])


async def test_paused_clients_of_one_provider_are_counted(opening, sdk, clock):
    class Refused(ScriptedRefresher):
        """There are two clients, both of which the provider refuses; each has accounts of two tenants."""

        def client_id_of(self, account):
            return None if account is None else account.identifier

        async def refresh(self, request):
            raise ProviderConfigurationError(reason="invalid_client")

    async with opening(Refused()) as vault:
        accounts = [Account(f"t{tenant}", "acme", name) for name in ("ann", "ben") for tenant in (1, 2, 3)]
        for account in accounts:
            await vault.store_token_set(account, answer())
        clock.advance(HOUR)
        for account in accounts:
            with pytest.raises(ProviderConfigurationError):
                await vault.refresh_account(account)
        await census_of(sdk)
        assert sdk.value("token_vault.provider.paused", provider="acme", reason="invalid_client") == 2


async def test_every_metric_and_attribute_is_in_the_table(opening, sdk, clock, tmp_path):
    refresher = ScriptedRefresher(answer(1), RefreshFailedError(reason="server_error"))
    async with opening(refresher, journal_dir=tmp_path / "journal") as vault:
        await vault.store_token_set(ACCOUNT, answer(0))
        clock.advance(HOUR)
        await vault.refresh_due()
        clock.advance(HOUR)
        await vault.refresh_due()
        await census_of(sdk)
        table = {metric.name: metric for metric in METRICS}
        found = sdk.metrics()
        for name, points in found.items():
            for attributes, _ in points:
                assert set(attributes) <= set(table[name].attributes), name
        for metric in METRICS:
            pooled = metric.name.startswith(("db.", "token_vault.pool"))
            rare = metric.name in ("token_vault.wait.duration", "token_vault.provider.paused")
            assert metric.name in found or pooled or rare
        assert len(SURVEYED) == 5


def test_a_blocking_vault_is_instrumented_before_and_after_it_opens(database, sdk):
    with open_sync_vault(database.config()) as vault:
        sdk.instrument(vault)
        vault.store_token(KEY, "v")
        vault.get_token(KEY)
        assert sdk.value("token_vault.reads", source="database") == 1
    vault = open_sync_vault(database.config())
    sdk.instrument(vault)
    sdk.instrument(vault.with_actor("me"))  # the same vault
    vault.get_token(KEY)
    assert sdk.value("token_vault.reads", source="database") == 2
    vault.get_token(KEY)
    vault.close()
    assert sdk.value("token_vault.reads", source="database") == 3  # a counter does not fall when a vault is closed


async def test_several_vaults_are_added_up(opening, sdk):
    async with opening() as one, opening() as other:
        await one.get_token(KEY)
        await other.get_token(KEY)
        sdk.instrument(other.with_actor("me"))  # the same vault, so it is not added again
        assert sdk.value("token_vault.reads", source="database") == 2


async def test_with_two_meter_providers_each_span_is_told_once(opening, sdk, clock):
    """A host may push its metrics and show them to Prometheus too."""
    more = InMemoryMetricReader()
    meters = MeterProvider([more], shutdown_on_exit=False)
    async with opening(ScriptedRefresher(answer(1))) as vault:
        instrument(vault, meter_provider=meters, tracer_provider=sdk.tracers)
        await vault.store_token_set(ACCOUNT, answer(0))
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
    assert [len(sdk.spans()[f"token_vault.{name}"]) for name in ("ensure", "refresh", "exchange")] == [1, 1, 1]
    for each in (sdk, evolve(sdk, reader=more)):
        assert each.value("token_vault.refreshes", outcome="refreshed") == 1
    meters.shutdown()


async def test_the_census_is_that_of_a_vault_that_is_still_open(opening, sdk):
    async with opening() as one:
        async with opening():
            pass  # it was instrumented last, and is closed now
        await one.store_token_set(ACCOUNT, answer(0))
        assert sdk.value("token_vault.census.age") is None
        await census_of(sdk)
        assert sdk.value("token_vault.account.count") == 1


async def test_only_a_vault_on_its_event_loop_is_instrumented(database, sdk):
    with pytest.raises(InvalidInputError):
        sdk.instrument(object())
    async with open_vault(database.config()) as vault:
        with pytest.raises(ConfigurationError) as caught:
            await asyncio.to_thread(sdk.instrument, vault)
        assert caught.value.code == "no_event_loop"


def test_nothing_of_opentelemetry_is_imported_without_a_call():
    script = (
        "import sys, json, vault_adapters.composition, vault_adapters.sync.vault, vault_adapters.telemetry;"
        "print(json.dumps([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus'))]))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


async def test_a_missing_extra_is_named(database, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    async with open_vault(database.config()) as vault:
        with pytest.raises(ConfigurationError) as caught:
            instrument(vault)
        assert caught.value.code == "missing_extra"
