"""Makes the use cases, and gives each use case its ports; `composition` chooses the adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, partial
from typing import TypeAlias

from vault_adapters.configuration.config import VaultConfig
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.runtime.host_connections import opened, unfit_store
from vault_adapters.stores.batching import own_loop
from vault_adapters.stores.noticed import NoticedStore
from vault_adapters.stores.port import HostedStore, Store
from vault_domain.entities.causes import CLOSED
from vault_domain.entities.errors import StorageError
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.journal import RefreshJournal
from vault_domain.ports.keys import Keys
from vault_domain.ports.master_key import MasterKeys
from vault_domain.ports.prover import Prover
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.ports.waker import Waker
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import RefreshRule
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.measuring import MeasuringService
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.api_keys import ApiKeys
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.client_ledger import ClientLedger
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.failures import FailureRecorder
from vault_domain.services.refresh.pacing import Pacer
from vault_domain.services.refresh.provider_rules import policy_of, provider_rules, without_static
from vault_domain.services.refresh.rejections import RejectionService
from vault_domain.services.refresh.rereading import Rereader
from vault_domain.services.refresh.unread import UnreadKeeper
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.accounts import AccountService
from vault_domain.services.tokens.auditing import AuditService
from vault_domain.services.tokens.census import CensusService
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.homes import HomeService
from vault_domain.services.tokens.hosting import HostAccounts, HostPorts
from vault_domain.services.tokens.hosts import ApiHosts
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.readiness import ReadinessService
from vault_domain.services.tokens.reading import RowReader
from vault_domain.services.tokens.revival import RevivalService
from vault_domain.services.tokens.revocation import RevocationService
from vault_domain.services.tokens.states import StateService
from vault_domain.services.tokens.token_service import TokenService
from vault_domain.services.tokens.uses import UseTracker
from vault_domain.services.use_cases import KeyServices, OperatingServices, VaultServices


def key_services(
    *, store: Store, keyring: Keyring, cipher: Cipher, sink: EventSink, tasks: Tasks, master_keys: MasterKeys
) -> KeyServices:
    """Return the use cases about keys."""
    from vault_domain.services.keys.data_keys import RotationService
    from vault_domain.services.keys.master_keys import RewrappingService
    from vault_domain.services.keys.tenant_keys import TenantKeyService
    from vault_domain.services.keys.values import ResealingService

    of_tenants = TenantKeyService(store.keys, keyring, sink)
    return KeyServices(
        rotating=RotationService(store.keys, keyring, cipher, sink, tasks, master_keys, of_tenants),
        resealing=ResealingService(store.keys, cipher, sink, tasks),
        rewrapping=RewrappingService(store.keys, keyring, sink, tasks, master_keys),
        of_tenants=of_tenants,
    )


_Sweep: TypeAlias = tuple[
    AttemptLedger,
    AttemptRunner,
    AnswerKeeper,
    Tasks,
    RefreshPolicy,
    Mapping[str, RefreshRule],
    TokenService,
    Rereader,
    Observed,
]
"""What `SweepService` is made of."""


def operating_services(
    store: NoticedStore,
    config: VaultConfig,
    counting: ClientLedger,
    guard: ClientGuard,
    listing: ListingService,
    opener: TokenOpener,
    cipher: Cipher,
    sink: EventSink,
    sweep: _Sweep,
) -> OperatingServices:
    """Return the use cases of workers and operators."""
    from vault_domain.services.refresh.restoring import RestoreService
    from vault_domain.services.refresh.sweep import SweepService
    from vault_domain.services.tokens.chaining import ChainService
    from vault_domain.services.tokens.erasing import ErasureService
    from vault_domain.services.tokens.exporting import ExportService
    from vault_domain.services.tokens.importing import ImportService
    from vault_domain.services.tokens.recording import TokenRecorder
    from vault_domain.services.tokens.verifying import VerifyingService

    accounts, remembered, sweeping = store.accounts, config.remembered.total_seconds(), SweepService(*sweep)
    _, _, _, tasks, policy, *_ = sweep
    recorder = TokenRecorder(store.audit, store.pages, store.unnoticed)
    chain = ChainService(store.audit, cipher, tasks, recorder)
    return OperatingServices(
        sweeping=sweeping,
        restoring=RestoreService(store.clients, counting, sink, guard, sweeping, listing),
        erasing=ErasureService(accounts, cipher, sink, tasks, chain, remembered=remembered),
        importing=ImportService(accounts, cipher, sink, tasks, policy),
        exporting=ExportService(listing, accounts, opener, store.audit, sink),
        chain=chain,
        verifying=VerifyingService(store.audit, chain, recorder, tasks),
    )


def _prover() -> Prover:
    from vault_adapters.providers.dpop import DpopProver  # few vaults hold a token that is bound to a key

    return DpopProver()


def vault_services(
    *,
    store: NoticedStore,
    cipher: Cipher,
    sink: EventSink,
    tasks: Tasks,
    opener: TokenOpener,
    auditing: AuditService,
    waker: Waker,
    uses: UseTracker,
    keeper: AnswerKeeper,
    journal: RefreshJournal,
    timing: RefreshTiming,
    config: VaultConfig,
    refreshers: Mapping[str, TokenRefresher],
    packaged: Callable[[str], TokenRefresher | None],
    keys: Callable[[], KeyServices],
    reader: RowReader,
    measures: Callable[[CensusService], MeasuringService],
    observed: Observed,
    home: HomeService,
    on: Callable[[object], AbstractAsyncContextManager[HostPorts]],
) -> VaultServices:
    """Return the use cases of a vault."""
    named, refreshers = refreshers, without_static(refreshers)
    policy = policy_of(refreshers, config.refresh_buffer, config.tuning.reconnect_notice)
    window = ConfirmationWindow(config.tuning.rejection_confirm_after, config.tuning.rejection_confirm_within)
    rules, clients = provider_rules(refreshers, timing), Clients(refreshers)
    spends = {name: rule.spends for name, rule in rules.items()}
    accounts, pages, upkeep, most = store.accounts, store.pages, store.upkeep, config.tuning.provider_concurrency
    ledger, changes = AttemptLedger(accounts), AccountChanges(accounts, tasks.new_id)
    tokens = TokenService(accounts, pages, changes, cipher, sink, opener, uses, policy, reader, clients)
    reviving = RevivalService(accounts, pages, changes, sink)
    counting = ClientLedger(store.clients, ledger, reviving, pages, sink, config.tuning.client_rules)
    guard = ClientGuard(counting, tasks, clients, config.tuning.client_rules, home)
    failures = FailureRecorder(ledger, sink, tasks, guard, config.tuning.exhausted_after)
    runner = AttemptRunner(
        *(ledger, cipher, opener, keeper, failures, guard, Pacer(store.clients, tasks, clients, refreshers)),
        *(tasks, policy, timing, refreshers, UnreadKeeper(upkeep, keeper, tasks, refreshers), most, observed),
    )
    readiness = ReadinessService(upkeep, cipher, tasks, journal, home)
    revoker = RevocationService(accounts, opener, tasks, refreshers, timing.deadline, pages, home)
    rereader = Rereader(upkeep, ledger, cipher, opener, runner, tasks, refreshers)
    refreshing = RefreshService(tokens, ledger, runner, keeper, tasks, policy, rules, observed)
    listing = ListingService(pages, store.audit, spends, store.keys, cipher)
    health = HealthService(
        *(pages, readiness, opener, policy.buffer, store.clients, upkeep),
        *(window.most, policy.notice, config.tuning.client_rules),
    )
    sweep = (ledger, runner, keeper, tasks, policy, rules, tokens, rereader, observed)
    operating = partial(operating_services, store, config, counting, guard, listing, opener, cipher, sink, sweep)
    return VaultServices(
        tokens=tokens,
        auditing=auditing,
        waker=waker,
        accounts=AccountService(accounts, changes, store.audit, cipher, sink, revoker, policy, spends, clients),
        listing=listing,
        readiness=readiness,
        homes=home,
        health=health,
        refreshing=refreshing,
        rejections=RejectionService(tokens, ledger, keeper, refreshing, rules, window, tasks),
        rereader=rereader,
        keys=cache(keys),
        operating=cache(operating),
        reviving=reviving,
        hosts=ApiHosts(named, packaged, tasks, _prover),
        api_keys=ApiKeys(tokens, tasks, named, packaged),
        states=StateService(cipher, accounts, upkeep),
        measuring=measures(CensusService(pages, listing, health, rules)),
        on=on,
    )


@asynccontextmanager
async def host_ports(
    connection: object,
    *,
    loop: asyncio.AbstractEventLoop,
    closed: asyncio.Event,
    store: Store,
    cipher: Callable[[Keys], AbstractAsyncContextManager[Cipher]],
    sink: EventSink,
    reader: RowReader,
    tasks: Tasks,
) -> AsyncIterator[HostPorts]:
    """Give the ports for one call inside the transaction of a host's connection.

    Args:
        connection: the host's connection.
        loop: the event loop on which the vault was opened.
        closed: is set when the vault is closed.
        store: the store.
        cipher: gives a cipher that finds and creates data keys on the host's connection.
        sink: gets the events before the host's commit.
        reader: remembers rows for this process's other callers.
        tasks: makes ids.

    Raises:
        HostTransactionError: this store or this connection cannot be used.
        ConfigurationError: another event loop runs, or this is a forked child.
        StorageError: the vault is closed.
    """
    own_loop(loop)
    if closed.is_set():
        raise StorageError("the vault is closed", reason=CLOSED)
    if not isinstance(store, HostedStore):
        raise unfit_store("this store cannot write on a host's connection")
    async with store.on(await opened(connection)) as host, cipher(host.keys) as own:
        accounts = HostAccounts(host.accounts, reader, tasks.new_id)
        yield HostPorts(accounts, own, sink)
