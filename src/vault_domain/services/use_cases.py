"""`VaultServices`: the use cases of one vault, as the facade finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from vault_domain.ports.waker import Waker
    from vault_domain.services.keys.data_keys import RotationService
    from vault_domain.services.keys.master_keys import RewrappingService
    from vault_domain.services.keys.tenant_keys import TenantKeyService
    from vault_domain.services.keys.values import ResealingService
    from vault_domain.services.measuring import MeasuringService
    from vault_domain.services.refresh.access import RefreshService
    from vault_domain.services.refresh.api_keys import ApiKeys
    from vault_domain.services.refresh.rejections import RejectionService
    from vault_domain.services.refresh.restoring import RestoreService
    from vault_domain.services.refresh.sweep import SweepService
    from vault_domain.services.tokens.accounts import AccountService
    from vault_domain.services.tokens.auditing import AuditService
    from vault_domain.services.tokens.chaining import ChainService
    from vault_domain.services.tokens.erasing import ErasureService
    from vault_domain.services.tokens.exporting import ExportService
    from vault_domain.services.tokens.health import HealthService
    from vault_domain.services.tokens.homes import HomeService
    from vault_domain.services.tokens.hosting import HostPorts
    from vault_domain.services.tokens.hosts import ApiHosts
    from vault_domain.services.tokens.importing import ImportService
    from vault_domain.services.tokens.listing import ListingService
    from vault_domain.services.tokens.readiness import ReadinessService
    from vault_domain.services.tokens.revival import RevivalService
    from vault_domain.services.tokens.states import StateService
    from vault_domain.services.tokens.token_service import TokenService
    from vault_domain.services.tokens.token_writer import TokenWriter
    from vault_domain.services.tokens.verifying import VerifyingService


class VaultServices(Protocol):
    """The use cases of a vault. Whoever implements it may make each, and load its module, when it is first used."""

    # ruff: noqa: D102 - each use case is described by its class

    @property
    def tokens(self) -> TokenService: ...

    @property
    def writing(self) -> TokenWriter: ...

    @property
    def accounts(self) -> AccountService: ...

    @property
    def listing(self) -> ListingService: ...

    @property
    def auditing(self) -> AuditService: ...

    @property
    def refreshing(self) -> RefreshService: ...

    @property
    def rejections(self) -> RejectionService: ...

    @property
    def sweeping(self) -> SweepService: ...

    @property
    def api_keys(self) -> ApiKeys: ...

    @property
    def hosts(self) -> ApiHosts: ...

    @property
    def states(self) -> StateService: ...

    @property
    def health(self) -> HealthService: ...

    @property
    def readiness(self) -> ReadinessService: ...

    @property
    def measuring(self) -> MeasuringService: ...

    @property
    def homes(self) -> HomeService: ...

    @property
    def reviving(self) -> RevivalService: ...

    @property
    def restoring(self) -> RestoreService: ...

    @property
    def erasing(self) -> ErasureService: ...

    @property
    def importing(self) -> ImportService: ...

    @property
    def exporting(self) -> ExportService: ...

    @property
    def rotating(self) -> RotationService: ...

    @property
    def resealing(self) -> ResealingService: ...

    @property
    def rewrapping(self) -> RewrappingService: ...

    @property
    def tenant_keys(self) -> TenantKeyService: ...

    @property
    def waker(self) -> Waker: ...

    @property
    def chain(self) -> ChainService: ...

    @property
    def verifying(self) -> VerifyingService: ...

    @property
    def on(self) -> Callable[[object], AbstractAsyncContextManager[HostPorts]]:
        """Gives ports that write inside the transaction of a host's connection."""

    def over(self, ports: HostPorts) -> VaultServices:
        """Return the same use cases, but those that store and delete write inside the host's transaction."""
