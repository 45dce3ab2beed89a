"""Makes the health report: token counts, and whether the store and the master key answer."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from vault_domain.entities.causes import WRITE_CAUSES
from vault_domain.entities.clients import ClientRecord
from vault_domain.entities.errors import VaultError
from vault_domain.entities.reports import HealthCount, HealthReport, Incident
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.pages import Pages
from vault_domain.rules.clients import ClientRules, is_one_tenants, is_paused
from vault_domain.services.tokens.kept import count_kept
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.readiness import MASTER_KEY, STORE, ReadinessService, cause_of

_PATIENCE = 1.5
"""Longest time in seconds for store and master key to answer."""

_RULES = ClientRules()


class HealthService:
    """Makes health reports; it reports errors of store and master key instead of raising them."""

    def __init__(
        self,
        pages: Pages,
        readiness: ReadinessService,
        opener: TokenOpener,
        buffer: timedelta,
        clients: ClientStates,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        rules: ClientRules = _RULES,
    ) -> None:
        self._pages = pages
        self._readiness = readiness
        self._opener = opener
        self._buffer = buffer
        self._clients = clients
        self._suspicion = suspicion
        self._notice = notice
        self._rules = rules

    async def report(self, tenant_id: str | None) -> HealthReport:
        """Return the health of the tokens (of one tenant or of all), the store and the master key.

        If the store does not answer a quick check, nothing is counted, so that the report comes within two seconds. A
        store that takes no writes still answers reads, so its tokens and incidents are reported beside the error.
        """
        errors = await self._readiness.errors(_PATIENCE)
        store, key = errors.get(STORE), errors.get(MASTER_KEY)
        counts: tuple[HealthCount, ...] = ()
        incidents: tuple[Incident, ...] = ()
        time: datetime | None = None
        unread: Mapping[str, int] = {}
        if store is None or store.reason in WRITE_CAUSES:
            counts, failure = await self._count(tenant_id)
            incidents, time, unread = await self._incidents() if failure is None else ((), None, {})
            store = failure or store
        return HealthReport(
            counts,
            self._opener.failed_reads.count(tenant_id),
            None if store is None else store.code,
            None if key is None else key.code,
            incidents,
            store_reason=cause_of(store),
            store_time=time,
            unread=unread,
        )

    async def _incidents(self) -> tuple[tuple[Incident, ...], datetime | None, Mapping[str, int]]:
        """Return the incidents, the store's time, and the number of kept answers of each provider."""
        try:
            clients = await self._clients.records()
            unread = await count_kept(self._pages)
        except VaultError:
            return (), None, {}  # the store failed after the count; report the counts without incidents
        found = [each for record in clients.records if (each := self._incident(record, clients.now)) is not None]
        return tuple(sorted(found, key=lambda incident: (incident.provider, incident.since))), clients.now, unread

    def _incident(self, record: ClientRecord, now: datetime) -> Incident | None:
        provider, reason = record.scope.provider, record.scope.reason
        if record.opened_at is not None and is_paused(record, now, self._rules):
            return Incident(provider, reason, record.opened_at, record.refused_at)
        if is_one_tenants(record, now, self._rules):
            return Incident(provider, reason, record.since, record.refused_at, pauses=False)
        return None

    async def _count(self, tenant_id: str | None) -> tuple[tuple[HealthCount, ...], VaultError | None]:
        try:
            counts = await self._pages.count_health(tenant_id, self._buffer, self._suspicion, self._notice)
        except VaultError as error:
            return (), error
        return tuple(sorted(counts, key=lambda count: (count.provider, count.health.value))), None
