"""Every mutation writes its audit events once, in its transaction; if an event cannot be written, nothing changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    UNWRITABLE,
    ContractFixtures,
    attempts_of,
    changes_of,
    events_of,
    key,
    row_of,
    tokens_of,
)
from vault_adapters.testing.contract.refreshing import answer, claimed, state_of
from vault_domain.entities.account import Account
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

MUTATIONS = ["store", "store_set", "delete", "commit"]


class EventCases(ContractFixtures):
    """The audit log and ``on_event``."""

    async def test_each_changed_token_gives_one_event(
        self, vault: TokenVault, clock: ManualClock, happened: list[AuditEvent]
    ) -> None:
        actor = vault.with_actor("user:42")
        first = await vault.store_token(ACCESS, "v1")
        clock.advance(timedelta(seconds=1))
        await actor.store_token_set(ACCOUNT, TokenSet("v2", "r"))
        info = (await tokens_of(vault))[ACCESS]
        await actor.mark_token_invalid(first, "stale")
        await actor.mark_token_invalid(info, "invalid_token")
        await actor.mark_token_invalid(info, "invalid_token")
        await vault.delete_token(ACCESS)
        await vault.delete_token(ACCESS)
        await actor.delete_account(ACCOUNT)
        await actor.delete_account(ACCOUNT)
        await vault.store_tokens([(key("a"), "v"), (key("b"), "v")])
        await vault.delete_provider_tokens("t1", "google")
        await vault.delete_provider_tokens("t1", "google")
        stored, start = await events_of(vault), first.created_at
        told = [
            (event.action, event.account, event.kind, event.generation, event.actor, event.code) for event in stored
        ]
        a, r, by = ACCESS.kind, REFRESH.kind, "user:42"
        account_a, account_b = Account("t1", "google", "a"), Account("t1", "google", "b")
        assert told[:6] == [
            (AuditAction.TOKEN_STORED, ACCOUNT, a, 1, None, None),
            (AuditAction.TOKEN_STORED, ACCOUNT, a, 2, by, None),
            (AuditAction.TOKEN_STORED, ACCOUNT, r, 1, by, None),
            (AuditAction.TOKEN_INVALIDATED, ACCOUNT, a, 2, by, "invalid_token"),
            (AuditAction.TOKEN_DELETED, ACCOUNT, a, 2, None, None),
            (AuditAction.TOKEN_DELETED, ACCOUNT, r, 1, by, None),
        ]
        assert sorted(told[6:], key=repr) == sorted(
            [
                (AuditAction.TOKEN_STORED, account_a, a, 1, None, None),
                (AuditAction.TOKEN_STORED, account_b, a, 1, None, None),
                (AuditAction.TOKEN_DELETED, account_a, a, 1, None, None),
                (AuditAction.TOKEN_DELETED, account_b, a, 1, None, None),
            ],
            key=repr,
        )
        assert {event.tenant_id for event in stored} == {"t1"}
        assert [event.occurred_at for event in stored] == [start] + [clock.now()] * 9
        # on_event gets the same events, once each; only events that are read from the log have a cursor.
        assert [evolve(event, cursor=None) for event in happened] == [evolve(event, cursor=None) for event in stored]

    @pytest.mark.parametrize("mutation", MUTATIONS)
    async def test_without_its_event_a_mutation_does_not_happen(
        self, store: Store, vault: TokenVault, mutation: str
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"), label="before")
        attempt, answers = await claimed(store), await answer(store)
        before, events, state = await tokens_of(vault), await events_of(vault), await state_of(store)
        row = await row_of(store)
        writes = [TokenWrite(ACCESS, row.sealed), TokenWrite(key("new"), row.sealed)]
        mutations: dict[str, Callable[[], Awaitable[object]]] = {
            "store": lambda: store.accounts.store(writes, actor=UNWRITABLE),
            "store_set": lambda: changes_of(store).store_set(ACCOUNT, writes[:1], label="after", actor=UNWRITABLE),
            "delete": lambda: changes_of(store).delete_token(ACCESS, actor=UNWRITABLE),
            "commit": lambda: attempts_of(store).commit(attempt, answers, actor=UNWRITABLE),
        }
        with pytest.raises(Exception):  # noqa: B017, PT011 - a store may raise any error
            await mutations[mutation]()
        assert await tokens_of(vault) == before
        assert (await events_of(vault), await state_of(store)) == (events, state)
        info = await vault.get_account(ACCOUNT)
        assert info is not None
        assert info.label == "before"
        # The store is still usable.
        assert (await vault.store_token(ACCESS, "again")).generation == 2
