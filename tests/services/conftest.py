"""Use cases over fakes of their ports."""

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import define, evolve
from tests.examples.dict_store import DictStore, open_dict_store
from tests.examples.dict_store.database import DictDatabase
from tests.services.fakes import MASTER_KEY, EventList, MemoryJournal, PlainCipher, VirtualTasks

from vault_adapters import Account, TokenKind, TokenSet
from vault_adapters.stores.noticed import NoticedStore
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.memory.answers import Answers
from vault_domain.memory.rows import RememberedRows
from vault_domain.ports.master_key import MasterKeys
from vault_domain.rules.clients import ClientRules
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.remembering import MemoryPolicy
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.keys.data_keys import RotationService
from vault_domain.services.keys.tenant_keys import TenantKeyService
from vault_domain.services.keys.values import ResealingService
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.client_ledger import ClientLedger
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.failures import FailureRecorder
from vault_domain.services.refresh.pacing import Pacer
from vault_domain.services.refresh.provider_rules import provider_rules
from vault_domain.services.refresh.rejections import RejectionService
from vault_domain.services.refresh.rereading import Rereader
from vault_domain.services.refresh.sweep import SweepService
from vault_domain.services.refresh.unread import UnreadKeeper
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.accounts import AccountService
from vault_domain.services.tokens.auditing import AuditService
from vault_domain.services.tokens.chaining import ChainService
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.erasing import ErasureService
from vault_domain.services.tokens.homes import HomeService
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.reading import RowReader
from vault_domain.services.tokens.recording import TokenRecorder
from vault_domain.services.tokens.revival import RevivalService
from vault_domain.services.tokens.revocation import RevocationService
from vault_domain.services.tokens.token_service import TokenService
from vault_domain.services.tokens.token_writer import TokenWriter
from vault_domain.services.tokens.uses import UseTracker

ACCOUNT = Account("t1", "google", "ann")
ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)
POLICY, TIMING, MEMORY = RefreshPolicy(), RefreshTiming(), MemoryPolicy()
HOUR = timedelta(hours=1)


@define
class Parts(DictStore):
    """A store, and the use cases over it that a test may replace."""

    refreshes: object
    changes: object

    @classmethod
    def of(cls, store):
        ports = (store.accounts, store.pages, store.keys, store.audit, store.clients, store.upkeep)
        return cls(*ports, AttemptLedger(store.accounts), AccountChanges(store.accounts, uuid4))


@define(slots=False)
class Cases:
    """The use cases of one vault, and the fakes that they talk to."""

    store: object
    clock: ManualClock
    cipher: PlainCipher
    sink: EventList
    tasks: VirtualTasks
    journal: MemoryJournal
    refreshers: dict
    timing: RefreshTiming = TIMING
    memory: MemoryPolicy = MEMORY

    def __attrs_post_init__(self):
        if not isinstance(self.store, Parts):
            self.store = Parts.of(self.store)
        store, cipher, tasks = self.store, self.cipher, self.tasks
        observed = self.observed = Observed()
        self.held = Answers(tasks, self.timing.hold.total_seconds())
        sink = self.held.watching(self.sink)
        rules = provider_rules(self.refreshers, self.timing)
        opener = self.opener = TokenOpener(cipher, sink, store.accounts)
        self.uses, clients = UseTracker(store.accounts), Clients(self.refreshers)
        self.rows = RememberedRows(self.memory, tasks, lambda *_: True, self.clock)
        noticed = self.noticed = NoticedStore(store, self.rows)
        # A test may put another ledger in place; the memory is not told of what such a ledger writes.
        is_own = isinstance(store.refreshes, AttemptLedger)
        ledger = AttemptLedger(noticed.accounts) if is_own else store.refreshes
        changes = (
            AccountChanges(noticed.accounts, uuid4) if isinstance(store.changes, AccountChanges) else store.changes
        )
        self.reader = RowReader(noticed.accounts, self.rows, self.held, tasks, observed.reads)
        self.tokens = TokenService(opener, self.uses, POLICY, self.reader)
        self.writing = TokenWriter(noticed.accounts, noticed.pages, changes, cipher, sink, POLICY, clients, self.tasks)
        self.keeper = AnswerKeeper(ledger, cipher, opener, sink, self.journal, tasks, self.timing, self.held, observed)
        self.counting = ClientLedger(
            *(
                noticed.clients,
                ledger,
                RevivalService(noticed.accounts, noticed.pages, changes, sink),
                noticed.pages,
                sink,
                ClientRules(),
            )
        )
        guard = self.guard = ClientGuard(self.counting, tasks, clients, ClientRules(), HomeService(None, sink))
        failures = FailureRecorder(ledger, sink, tasks, guard)
        pacer = Pacer(noticed.clients, tasks, clients, self.refreshers)
        runner = AttemptRunner(
            ledger,
            cipher,
            opener,
            self.keeper,
            failures,
            guard,
            pacer,
            tasks,
            POLICY,
            self.timing,
            self.refreshers,
            UnreadKeeper(store.pages, self.keeper, tasks, self.refreshers),
            observed=observed,
        )
        self.rereader = Rereader(store.pages, ledger, cipher, opener, runner, tasks, self.refreshers)
        revoker = RevocationService(
            noticed.accounts if is_own else ledger, opener, tasks, self.refreshers, self.timing.deadline, noticed.pages
        )
        self.accounts = AccountService(
            *(noticed.accounts, changes, noticed.audit, cipher, sink, revoker, POLICY, {}, clients, runner.exchanged)
        )
        self.refreshing = RefreshService(
            self.tokens, ledger, runner, self.keeper, tasks, POLICY, rules, store.pages, observed
        )
        self.rejections = RejectionService(
            *(self.tokens, self.writing, ledger, self.keeper, self.refreshing, rules, ConfirmationWindow(), tasks),
            AuditService(store.audit, sink, tasks.monotonic).rejected,
        )
        self.sweeping = SweepService(
            ledger, runner, self.keeper, tasks, POLICY, rules, self.writing, self.rereader, observed
        )
        chain = ChainService(store.audit, cipher, tasks, TokenRecorder(store.audit, store.pages, store.accounts))
        self.erasing = ErasureService(noticed.accounts, cipher, sink, tasks, chain, remembered=0.0)
        master_keys = MasterKeys({}, MASTER_KEY.key_id, MASTER_KEY.key_id)
        self.rotating = RotationService(
            store.keys, cipher, cipher, sink, tasks, master_keys, TenantKeyService(store.keys, cipher, sink)
        )
        self.resealing = ResealingService(store.keys, cipher, sink, tasks)

    def over(self, **changes):
        """Return a copy of the use cases with some fakes replaced."""
        return evolve(self, **changes)

    async def connect(self, account=ACCOUNT, number=0, lifetime=3600):
        token_set = TokenSet(f"access-{number}", f"refresh-{number}", expires_in=lifetime)
        return await self.accounts.store_set(account, token_set, label=None, actor=None)


@pytest.fixture
async def cases():
    """Give the use cases over an empty store."""
    clock = ManualClock()
    async with open_dict_store(DictDatabase(), clock) as store:
        await introduce_first(store.keys, MASTER_KEY)
        yield Cases(
            Parts.of(store), clock, PlainCipher(store.keys), EventList(), VirtualTasks(clock), MemoryJournal(), {}
        )


def answer(number, lifetime=3600):
    """Return what a provider answers the ``number``-th time."""
    return TokenSet(f"access-{number}", f"refresh-{number}", expires_in=lifetime)


@pytest.fixture
def refresher():
    return ScriptedRefresher()


@pytest.fixture
async def connected(cases, refresher):
    """Give the use cases with an account whose access token has expired."""
    cases = cases.over(refreshers={"google": refresher})
    await cases.connect()
    cases.clock.advance(HOUR)
    return cases
