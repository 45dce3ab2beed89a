"""Groups the use cases of one vault. Those that few processes call are made, and loaded, when one of them is called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from vault_domain.ports.waker import Waker
from vault_domain.services.measuring import MeasuringService
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.api_keys import ApiKeys
from vault_domain.services.refresh.rejections import RejectionService
from vault_domain.services.refresh.rereading import Rereader
from vault_domain.services.tokens.accounts import AccountService
from vault_domain.services.tokens.auditing import AuditService
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.homes import HomeService
from vault_domain.services.tokens.hosting import HostPorts
from vault_domain.services.tokens.hosts import ApiHosts
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.readiness import ReadinessService
from vault_domain.services.tokens.revival import RevivalService
from vault_domain.services.tokens.states import StateService
from vault_domain.services.tokens.token_service import TokenService

if TYPE_CHECKING:
    from vault_domain.services.keys.data_keys import RotationService
    from vault_domain.services.keys.master_keys import RewrappingService
    from vault_domain.services.keys.tenant_keys import TenantKeyService
    from vault_domain.services.keys.values import ResealingService
    from vault_domain.services.refresh.restoring import RestoreService
    from vault_domain.services.refresh.sweep import SweepService
    from vault_domain.services.tokens.chaining import ChainService
    from vault_domain.services.tokens.erasing import ErasureService
    from vault_domain.services.tokens.exporting import ExportService
    from vault_domain.services.tokens.importing import ImportService
    from vault_domain.services.tokens.verifying import VerifyingService


@frozen
class KeyServices:
    """The use cases of key operations."""

    rotating: RotationService
    resealing: ResealingService
    rewrapping: RewrappingService
    of_tenants: TenantKeyService


@frozen
class OperatingServices:
    """The use cases of workers and operators."""

    sweeping: SweepService
    restoring: RestoreService
    erasing: ErasureService
    importing: ImportService
    exporting: ExportService
    chain: ChainService
    verifying: VerifyingService


@frozen
class VaultServices:
    """All use cases of a vault; the composition root creates them."""

    tokens: TokenService
    auditing: AuditService
    waker: Waker
    accounts: AccountService
    listing: ListingService
    health: HealthService
    readiness: ReadinessService
    homes: HomeService
    refreshing: RefreshService
    rejections: RejectionService
    rereader: Rereader
    keys: Callable[[], KeyServices]
    operating: Callable[[], OperatingServices]
    reviving: RevivalService
    states: StateService
    hosts: ApiHosts
    api_keys: ApiKeys
    measuring: MeasuringService
    on: Callable[[object], AbstractAsyncContextManager[HostPorts]]
    """Gives ports that write inside the transaction of a host's connection."""

    def over(self, ports: HostPorts) -> VaultServices:
        """Return the same use cases, but those that store and delete write inside the host's transaction."""
        return evolve(self, tokens=self.tokens.over(ports), accounts=self.accounts.over(ports))
