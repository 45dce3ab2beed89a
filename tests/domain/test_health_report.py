"""The health report names a store or master key that does not answer, instead of failing."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve
from tests.domain.leaks import run

from vault_domain.entities.account import Account
from vault_domain.entities.clients import ClientRecord, ClientScope, StoredClients
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, StorageError
from vault_domain.entities.reports import HealthCount, Incident
from vault_domain.entities.token import TokenHealth
from vault_domain.rules.clients import MASS_REJECTION, ClientRules
from vault_domain.services.tokens.health import HealthService

NOW, HOUR = datetime(2030, 1, 1, tzinfo=UTC), timedelta(hours=1)
LONGEST = ClientRules().longest
COUNTS = [HealthCount("google", TokenHealth.FRESH, 2), HealthCount("clerk", TokenHealth.INVALID, 1)]


class Ports:
    """A store, a cipher and an opener, each of which may fail."""

    @property
    def failed_reads(self):
        return self

    def count(self, tenant_id):
        return 3

    def __init__(self, store_error=None, key_error=None, probe_error=None, kept=1200):
        self._kept = kept
        self._store_error = store_error
        self._probe_error = probe_error
        self._key_error = key_error

    async def count_health(self, tenant_id, buffer, suspicion, notice):
        if self._store_error is not None:
            raise self._store_error
        return COUNTS

    async def kept_answers(self, *, limit, after):
        begin = 0 if after is None else after[1].int
        places = range(begin + 1, min(begin + limit, self._kept) + 1)
        return [(Account(f"t{number}", "acme", None), (NOW, UUID(int=number))) for number in places]

    async def records(self, provider=None):
        if self._store_error is not None:
            raise self._store_error
        refused = ClientRecord(ClientScope("google", None, "invalid_client"), NOW, NOW, (b"ab",))
        paused = [evolve(refused, opened_at=NOW + HOUR, scope=ClientScope(name, None, "x")) for name in ("b", "a")]
        begun = (("over", LONGEST), ("lasting", LONGEST - HOUR))
        masses = [
            evolve(refused, opened_at=NOW - ago, scope=ClientScope(name, None, MASS_REJECTION)) for name, ago in begun
        ]
        return StoredClients([refused, *paused, *masses], NOW)

    async def errors(self, seconds):
        found = {"store": self._probe_error, "master key": self._key_error}
        return {name: error for name, error in found.items() if error is not None}


def report_of(**errors):
    ports = Ports(**errors)
    return run(HealthService(ports, ports, ports, timedelta(minutes=5), ports).report(None))


def test_all_is_well():
    report = report_of()
    assert report.counts == (COUNTS[1], COUNTS[0])
    assert (report.ok, report.failed_reads, report.store_error, report.master_key_error) == (True, 3, None, None)
    paused = [Incident(name, "x", NOW + HOUR, NOW) for name in ("a", "b")]
    assert report.incidents == (*paused, Incident("lasting", MASS_REJECTION, NOW - LONGEST + HOUR, NOW))
    assert report.unread == {"acme": 1200}
    assert (report.status, evolve(report, incidents=()).status) == ("paused", "ok")


@pytest.mark.parametrize(("kept", "counted"), [(0, {}), (500, {"acme": 500}), (12_000, {"acme": 10_000})])
def test_so_many_kept_answers_are_counted(kept, counted):
    assert report_of(kept=kept).unread == counted


@pytest.mark.parametrize("error", [KeyUnavailableError(), ConfigurationError(code="kms_wrong_key")], ids=repr)
def test_a_master_key_that_does_not_answer(error):
    report = report_of(key_error=error)
    assert (report.ok, report.store_error, report.master_key_error) == (False, None, error.code)
    assert report.status == "failing"
    assert len(report.counts) == 2


def test_a_store_that_does_not_answer():
    report = report_of(store_error=StorageError())
    assert (report.ok, report.store_error, report.master_key_error) == (False, StorageError().code, None)
    assert report.counts == ()


@pytest.mark.parametrize("reason", ["read_only", "disk_full"])
def test_a_store_that_only_answers_reads(reason):
    report = report_of(probe_error=StorageError(reason=reason))
    assert (report.ok, report.store_error, report.store_reason) == (False, StorageError().code, reason)
    assert (len(report.counts), len(report.incidents), report.store_time) == (2, 3, NOW)


def test_a_store_that_stops_to_answer_reads():
    report = report_of(probe_error=StorageError(reason="read_only"), store_error=StorageError(reason="timeout"))
    assert (report.store_reason, report.counts, report.incidents, report.store_time) == ("timeout", (), (), None)


def test_a_store_that_does_not_answer_the_probe_is_not_counted():
    report = report_of(probe_error=StorageError(reason="timeout"))
    assert (report.store_reason, report.counts, report.incidents, report.store_time) == ("timeout", (), (), None)
