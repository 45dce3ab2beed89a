"""Makes the use cases of a vault, and gives each its ports; `composition` chooses the adapters."""

# ruff: noqa: D102 - each use case is described by its class

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING

from vault_adapters.parts import SharedParts
from vault_adapters.runtime.closing import Begun
from vault_domain.services.tokens.token_service import TokenService

if TYPE_CHECKING:
    from vault_domain.entities.account import Account
    from vault_domain.ports.prover import Prover
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
    from vault_domain.services.tokens.chaining import ChainService
    from vault_domain.services.tokens.erasing import ErasureService
    from vault_domain.services.tokens.exporting import ExportService
    from vault_domain.services.tokens.health import HealthService
    from vault_domain.services.tokens.hosting import HostPorts
    from vault_domain.services.tokens.hosts import ApiHosts
    from vault_domain.services.tokens.importing import ImportService
    from vault_domain.services.tokens.listing import ListingService
    from vault_domain.services.tokens.readiness import ReadinessService
    from vault_domain.services.tokens.recording import TokenRecorder
    from vault_domain.services.tokens.states import StateService
    from vault_domain.services.tokens.token_writer import TokenWriter
    from vault_domain.services.tokens.verifying import VerifyingService


def _prover() -> Prover:
    from vault_adapters.providers.dpop import DpopProver  # few vaults hold a token that is bound to a key

    return DpopProver()


class WiredServices(SharedParts):
    """Implements `VaultServices`: makes each use case, and loads its module, when it is first used.

    Most processes use few of them, and loading all of them takes as long as loading the libraries.
    """

    @property
    def begun(self) -> Begun | None:
        """The refreshes that the vault has to end when it closes; None if nothing has asked for any."""
        return Begun(self.refreshing, self.keeper, self.timing.lease) if "keeper" in vars(self) else None

    def prepare_to_refresh(self) -> None:
        """Make what refreshes now, so that the event loop does not stand still for the first caller's refresh."""
        _ = self.rejections, self.api_keys, self.rereader

    def over(self, ports: HostPorts) -> WiredServices:
        """See `VaultServices`."""
        beside = copy(self)
        vars(beside).update(writing=self.writing.over(ports), accounts=self.accounts.over(ports))
        return beside

    # Tokens and accounts

    @cached_property
    def tokens(self) -> TokenService:
        """See `VaultServices`, as for each use case below."""
        return TokenService(self.opener, self.uses, self.policy, self.reader)

    @cached_property
    def writing(self) -> TokenWriter:
        from vault_domain.services.tokens.token_writer import TokenWriter

        store, cipher, sink = self.store, self.cipher, self.sink
        return TokenWriter(
            *(store.accounts, store.pages, self.changes, cipher, sink, self.policy, self.presented, self.tasks)
        )

    @cached_property
    def accounts(self) -> AccountService:
        from vault_domain.services.tokens.accounts import AccountService
        from vault_domain.services.tokens.revocation import RevocationService

        store, deadline = self.store, self.timing.deadline
        revoker = RevocationService(
            store.accounts, self.opener, self.tasks, self.refreshers, deadline, store.pages, self.homes
        )
        return AccountService(
            *(store.accounts, self.changes, store.audit, self.cipher, self.sink, revoker, self.policy, self.spends),
            *(self.presented, self._exchanged),
        )

    async def _exchanged(self, account: Account) -> None:
        await self.runner.exchanged(account)

    @cached_property
    def listing(self) -> ListingService:
        from vault_domain.services.tokens.listing import ListingService

        return ListingService(self.store.pages, self.store.audit, self.spends, self.store.keys, self.cipher)

    @cached_property
    def states(self) -> StateService:
        from vault_domain.services.tokens.states import StateService

        return StateService(self.cipher, self.store.accounts, self.store.keys, self.store.upkeep)

    @cached_property
    def hosts(self) -> ApiHosts:
        from vault_domain.services.tokens.hosts import ApiHosts

        return ApiHosts(self.named, self.packaged, self.tasks, _prover)

    # Refreshing

    @cached_property
    def refreshing(self) -> RefreshService:
        from vault_domain.services.refresh.access import RefreshService

        return RefreshService(
            *(self.tokens, self.ledger, self.runner, self.keeper, self.tasks, self.policy, self.rules),
            *(self.store.pages, self.observed),
        )

    @cached_property
    def rejections(self) -> RejectionService:
        from vault_domain.services.refresh.rejections import RejectionService

        return RejectionService(
            *(self.tokens, self.writing, self.ledger, self.keeper, self.refreshing, self.rules, self.window),
            *(self.tasks, self.auditing.rejected),
        )

    @cached_property
    def sweeping(self) -> SweepService:
        from vault_domain.services.refresh.sweep import SweepService

        return SweepService(
            *(self.ledger, self.runner, self.keeper, self.tasks, self.policy, self.rules, self.writing),
            *(self.rereader, self.observed),
        )

    @cached_property
    def api_keys(self) -> ApiKeys:
        from vault_domain.services.refresh.api_keys import ApiKeys

        return ApiKeys(self.tokens, self.tasks, self.named, self.packaged)

    # Operating

    @cached_property
    def readiness(self) -> ReadinessService:
        from vault_domain.services.tokens.readiness import ReadinessService

        return ReadinessService(self.store.upkeep, self.cipher, self.tasks, self.own_journal, self.homes)

    @cached_property
    def health(self) -> HealthService:
        from vault_domain.services.tokens.health import HealthService

        store, rules = self.store, self.config.tuning.client_rules
        return HealthService(
            *(store.pages, self.readiness, self.opener, self.policy.buffer, store.clients),
            *(self.window.most, self.policy.notice, rules),
        )

    @cached_property
    def measuring(self) -> MeasuringService:
        from vault_domain.services.measuring import MeasuringService
        from vault_domain.services.tokens.census import CensusService

        census = CensusService(self.store.pages, self.listing, self.health, self.rules)
        return MeasuringService(self.observed, census, self.opener, self.held, self.keyring.counts, self.pool)

    @cached_property
    def restoring(self) -> RestoreService:
        from vault_domain.services.refresh.restoring import RestoreService

        clients, counting, guard = self.store.clients, self.counting, self.guard
        return RestoreService(clients, counting, self.sink, guard, self.sweeping, self.listing)

    @cached_property
    def erasing(self) -> ErasureService:
        from vault_domain.services.tokens.erasing import ErasureService

        remembered = self.config.remembered.total_seconds()
        return ErasureService(
            self.store.accounts, self.cipher, self.sink, self.tasks, self.chain, remembered=remembered
        )

    @cached_property
    def importing(self) -> ImportService:
        from vault_domain.services.tokens.importing import ImportService

        return ImportService(
            self.store.accounts, self.cipher, self.sink, self.tasks, self.policy, self.hosts.refusal_of
        )

    @cached_property
    def exporting(self) -> ExportService:
        from vault_domain.services.tokens.exporting import ExportService

        return ExportService(self.listing, self.store.accounts, self.opener, self.store.audit, self.sink)

    @cached_property
    def _recorder(self) -> TokenRecorder:
        from vault_domain.services.tokens.recording import TokenRecorder

        return TokenRecorder(self.store.audit, self.store.pages, self.store.unnoticed)

    @cached_property
    def chain(self) -> ChainService:
        from vault_domain.services.tokens.chaining import ChainService

        return ChainService(self.store.audit, self.cipher, self.tasks, self._recorder)

    @cached_property
    def verifying(self) -> VerifyingService:
        from vault_domain.services.tokens.verifying import VerifyingService

        return VerifyingService(self.store.audit, self.chain, self._recorder, self.tasks)

    # Keys

    @cached_property
    def tenant_keys(self) -> TenantKeyService:
        from vault_domain.services.keys.tenant_keys import TenantKeyService

        return TenantKeyService(self.store.keys, self.keyring, self.sink)

    @cached_property
    def rotating(self) -> RotationService:
        from vault_domain.services.keys.data_keys import RotationService

        keys, keyring, masters = self.store.keys, self.keyring, self.master_keys
        return RotationService(keys, keyring, self.cipher, self.sink, self.tasks, masters, self.tenant_keys)

    @cached_property
    def resealing(self) -> ResealingService:
        from vault_domain.services.keys.values import ResealingService

        return ResealingService(self.store.keys, self.cipher, self.sink, self.tasks)

    @cached_property
    def rewrapping(self) -> RewrappingService:
        from vault_domain.services.keys.master_keys import RewrappingService

        return RewrappingService(self.store.keys, self.keyring, self.sink, self.tasks, self.master_keys)
