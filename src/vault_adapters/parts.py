"""`SharedParts`: what the use cases of one vault are made of, each part made when it is first used."""

# ruff: noqa: D102 - each part is described by its class

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import define

from vault_domain.rules.freshness import RefreshPolicy

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from vault_adapters.configuration.config import VaultConfig
    from vault_adapters.crypto.keyring import Keyring
    from vault_adapters.stores.noticed import NoticedStore
    from vault_domain.entities.account import TokenKind
    from vault_domain.entities.measures import PoolCounts
    from vault_domain.entities.suspicion import ConfirmationWindow
    from vault_domain.memory.answers import Answers
    from vault_domain.ports.cipher import Cipher
    from vault_domain.ports.event_sink import EventSink
    from vault_domain.ports.journal import RefreshJournal
    from vault_domain.ports.master_key import MasterKeys
    from vault_domain.ports.tasks import Tasks
    from vault_domain.ports.token_refresher import TokenRefresher
    from vault_domain.ports.waker import Waker
    from vault_domain.rules.refresh import RefreshRule
    from vault_domain.rules.timing import RefreshTiming
    from vault_domain.services.observing import Observed
    from vault_domain.services.refresh.answers import AnswerKeeper
    from vault_domain.services.refresh.attempt_ledger import AttemptLedger
    from vault_domain.services.refresh.attempts import AttemptRunner
    from vault_domain.services.refresh.client_ledger import ClientLedger
    from vault_domain.services.refresh.clients import ClientGuard
    from vault_domain.services.refresh.rereading import Rereader
    from vault_domain.services.tokens.account_changes import AccountChanges
    from vault_domain.services.tokens.auditing import AuditService
    from vault_domain.services.tokens.clients import Clients
    from vault_domain.services.tokens.homes import HomeService
    from vault_domain.services.tokens.hosting import HostPorts
    from vault_domain.services.tokens.opening import TokenOpener
    from vault_domain.services.tokens.reading import RowReader
    from vault_domain.services.tokens.revival import RevivalService
    from vault_domain.services.tokens.uses import UseTracker


@define(eq=False, repr=False, slots=False)
class SharedParts:
    """The adapters of one vault, and the parts that several of its use cases share."""

    store: NoticedStore
    reader: RowReader
    keyring: Keyring
    master_keys: MasterKeys
    cipher: Cipher
    sink: EventSink
    tasks: Tasks
    commits: Tasks
    opener: TokenOpener
    uses: UseTracker
    auditing: AuditService
    homes: HomeService
    held: Answers
    observed: Observed
    journal: Callable[[], RefreshJournal]
    waker: Waker
    pool: Callable[[], PoolCounts] | None
    config: VaultConfig
    named: Mapping[str, TokenRefresher]
    packaged: Callable[[str], TokenRefresher | None]
    on: Callable[[object], AbstractAsyncContextManager[HostPorts]]

    @cached_property
    def policy(self) -> RefreshPolicy:
        """The policy of all providers."""
        buffer, notice = self.config.refresh_buffer, self.config.tuning.reconnect_notice
        if not self.refreshers:
            return RefreshPolicy(buffer, notice)
        from vault_domain.services.refresh.provider_rules import policy_of

        return policy_of(self.refreshers, buffer, notice)

    @cached_property
    def refreshers(self) -> Mapping[str, TokenRefresher]:
        """The refreshers without those of API keys that do not expire."""
        if not self.named:
            return self.named
        from vault_domain.services.refresh.provider_rules import without_static

        return without_static(self.named)

    @cached_property
    def timing(self) -> RefreshTiming:
        """The time limits of a refresh."""
        from vault_domain.rules.timing import RefreshTiming

        return RefreshTiming(
            *(self.config.refresh_deadline, self.config.quiescence),
            answer_deadline=self.config.answer_deadline,
            hold=self.config.tuning.hold_answers,
        )

    @cached_property
    def rules(self) -> Mapping[str, RefreshRule]:
        from vault_domain.services.refresh.provider_rules import provider_rules

        return provider_rules(self.refreshers, self.timing)

    @property
    def spends(self) -> dict[str, TokenKind]:
        return {name: rule.spends for name, rule in self.rules.items()}

    @cached_property
    def window(self) -> ConfirmationWindow:
        from vault_domain.entities.suspicion import ConfirmationWindow

        return ConfirmationWindow(
            self.config.tuning.rejection_confirm_after, self.config.tuning.rejection_confirm_within
        )

    @cached_property
    def presented(self) -> Clients:
        from vault_domain.services.tokens.clients import Clients

        return Clients(self.refreshers)

    @cached_property
    def changes(self) -> AccountChanges:
        from vault_domain.services.tokens.account_changes import AccountChanges

        return AccountChanges(self.store.accounts, self.tasks.new_id)

    @cached_property
    def own_journal(self) -> RefreshJournal:
        return self.journal()

    @cached_property
    def ledger(self) -> AttemptLedger:
        from vault_domain.services.refresh.attempt_ledger import AttemptLedger

        return AttemptLedger(self.store.accounts)

    @cached_property
    def keeper(self) -> AnswerKeeper:
        """What keeps the answers of providers."""
        from vault_domain.services.refresh.answers import AnswerKeeper

        return AnswerKeeper(
            *(self.ledger, self.cipher, self.opener, self.sink, self.own_journal, self.commits, self.timing, self.held),
            self.observed,
        )

    @cached_property
    def reviving(self) -> RevivalService:
        from vault_domain.services.tokens.revival import RevivalService

        return RevivalService(self.store.accounts, self.store.pages, self.changes, self.sink)

    @cached_property
    def counting(self) -> ClientLedger:
        from vault_domain.services.refresh.client_ledger import ClientLedger

        store, rules = self.store, self.config.tuning.client_rules
        return ClientLedger(store.clients, self.ledger, self.reviving, store.pages, self.sink, rules)

    @cached_property
    def guard(self) -> ClientGuard:
        from vault_domain.services.refresh.clients import ClientGuard

        return ClientGuard(self.counting, self.tasks, self.presented, self.config.tuning.client_rules, self.homes)

    @cached_property
    def runner(self) -> AttemptRunner:
        from vault_domain.services.refresh.attempts import AttemptRunner
        from vault_domain.services.refresh.failures import FailureRecorder
        from vault_domain.services.refresh.pacing import Pacer
        from vault_domain.services.refresh.unread import UnreadKeeper

        store, tasks, tuning, refreshers = self.store, self.tasks, self.config.tuning, self.refreshers
        failures = FailureRecorder(self.ledger, self.sink, tasks, self.guard, tuning.exhausted_after)
        pacer = Pacer(store.clients, tasks, self.presented, refreshers)
        unread = UnreadKeeper(store.pages, self.keeper, tasks, refreshers)
        return AttemptRunner(
            *(self.ledger, self.cipher, self.opener, self.keeper, failures, self.guard, pacer, tasks, self.policy),
            *(self.timing, refreshers, unread, tuning.provider_concurrency, self.observed),
        )

    @cached_property
    def rereader(self) -> Rereader:
        """What reads kept answers again."""
        from vault_domain.services.refresh.rereading import Rereader

        return Rereader(
            *(self.store.pages, self.ledger, self.cipher, self.opener, self.runner, self.tasks, self.refreshers)
        )
