"""Makes the health report: token counts, and whether the store and the master key answer."""

from datetime import timedelta

from vault_domain.entities.errors import VaultError
from vault_domain.entities.reports import HealthCount, HealthReport, Incident
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.client_ledger import ClientLedger
from vault_domain.ports.token_repository import TokenRepository
from vault_domain.services.tokens.opening import TokenOpener


class HealthService:
    """Makes health reports; it reports errors of store and master key instead of raising them."""

    def __init__(
        self,
        tokens: TokenRepository,
        cipher: Cipher,
        opener: TokenOpener,
        buffer: timedelta,
        ledger: ClientLedger,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
    ) -> None:
        self._tokens = tokens
        self._cipher = cipher
        self._opener = opener
        self._buffer = buffer
        self._ledger = ledger
        self._suspicion = suspicion
        self._notice = notice

    async def report(self, tenant_id: str | None) -> HealthReport:
        """Return the health of the tokens (of one tenant or of all), the store and the master key."""
        counts, store_error = await self._count(tenant_id)
        failed_reads, key_error = self._opener.failed_reads.count(tenant_id), await self._check_key()
        return HealthReport(counts, failed_reads, store_error, key_error, await self._incidents())

    async def _incidents(self) -> tuple[Incident, ...]:
        try:
            records, _ = await self._ledger.records()
        except VaultError:
            return ()  # counting reports the store's error
        found = [
            Incident(record.scope.provider, record.scope.reason, record.opened_at, record.refused_at)
            for record in records
            if record.opened_at is not None
        ]
        return tuple(sorted(found, key=lambda incident: (incident.provider, incident.since)))

    async def _count(self, tenant_id: str | None) -> tuple[tuple[HealthCount, ...], str | None]:
        try:
            counts = await self._tokens.count_health(tenant_id, self._buffer, self._suspicion, self._notice)
        except VaultError as error:
            return (), error.code
        return tuple(sorted(counts, key=lambda count: (count.provider, count.health.value))), None

    async def _check_key(self) -> str | None:
        try:
            await self._cipher.check()
        except VaultError as error:
            return error.code
        return None
