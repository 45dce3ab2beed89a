"""Changes whole accounts on tables that Citus distributes: a change is one transaction on the tenant's node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from vault_adapters.stores.damage import gone_kinds, report_damage
from vault_adapters.stores.postgres.account_columns import versions_text
from vault_adapters.stores.postgres.account_states import MOST_AGE, AccountStates, loaded_account
from vault_adapters.stores.postgres.account_writes import (
    answer_part,
    are_sealed,
    changed_tokens,
    state_parameters,
    token_parameters,
)
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.cursors import Texts
from vault_adapters.stores.postgres.database import Transaction
from vault_adapters.stores.postgres.rows import account_parameters
from vault_adapters.stores.postgres.shaping import Shape, shaped
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.errors import VaultError
from vault_domain.entities.token import StoredToken
from vault_domain.ports.accounts import Decide
from vault_domain.ports.change import DataKeyInactiveError

T = TypeVar("T")


class _ChangedError(Exception):
    """Another writer has changed the account meanwhile; nothing of the transaction may be committed."""


class CitusAccountStates(AccountStates):
    """Does what `AccountStates` does.

    Each statement goes from the vault's node to the tenant's node as text, and is planned on both. So a change begins
    with what this process has read of the account last, even if that was long ago: the write compares it with what is
    stored. The time comes from the beginning of the transaction.
    """

    async def try_change(self, account: Account, decide: Decide[T]) -> Decision[T] | None:
        """Do what `change` does; return None and write nothing if another writer has changed the account meanwhile."""
        try:
            return await self._database.transact(lambda transaction: self._change(transaction, account, decide))
        except _ChangedError:
            return None

    async def _change(self, transaction: Transaction, account: Account, decide: Decide[T]) -> Decision[T]:
        now = transaction.now
        assert now is not None  # noqa: S101 - on Citus, a transaction reads the time when it begins
        last, state, decision = self._known.pop(account, None), None, None
        if last is not None:
            state = last.state
            with suppress(VaultError):  # an old state may be refused, and the stored one not
                decision = decide(state, now)
        # Only a write shows whether the state is still the stored one.
        if state is None or decision is None or decision.state is state:
            parameters = account_parameters(account) | {"now": now}
            rows = await transaction.fetch(self._queries["load_account"], parameters)
            state = loaded_account(rows, account).state
            report_damage(state)
            decision = decide(state, now)
        if decision.state is not state:
            await self._write(transaction, state, decision)
            if time.monotonic() - transaction.begun > MOST_AGE.total_seconds():
                raise _ChangedError
        return decision

    async def _write(self, transaction: Transaction, before: AccountState, decision: Decision[Any]) -> None:
        after, parameters = decision.state, state_parameters(before, decision)
        new, rest = changed_tokens(before, after)
        gone, answer = gone_kinds(before, after), answer_part(before, after)
        if new or rest or gone or answer or parameters["version"] is None:
            parameters["gone"] = Texts([kind.value for kind in gone])
            parameters |= token_parameters([*new, *rest], before, answer=after.answer if answer else None)
            await self._write_account(transaction, before, new, rest, parameters)
        else:
            _require(await transaction.fetch(self._queries["apply_row"], parameters))
        if answer:
            query = self._queries[f"answer_{answer}"]
            _require(await transaction.fetch(query, parameters))
        if gone and after.is_empty:
            # The account's row is locked now. A writer that held it before may have stored a token. Then the row stays.
            await transaction.execute(self._queries["delete_orphaned_account"], parameters)
        await append_events(transaction, self._queries, decision.events)

    async def _write_account(
        self,
        transaction: Transaction,
        before: AccountState,
        new: Sequence[StoredToken],
        rest: Sequence[StoredToken],
        parameters: dict[str, Any],
    ) -> None:
        _, versions, _ = before.version
        key_ids = parameters["key_ids"]
        same, active, is_written = True, True, False
        if new:
            # An insertion is no part of `apply_account`, because Citus would then not send this statement as a whole.
            keys = {"tenant_id": before.account.tenant_id, "data_key_ids": key_ids}
            held = await transaction.fetch(self._queries["hold_data_keys"], keys)
            active = held.count((True,)) == len(key_ids)
            parameters |= await self._insert(transaction, before, new if active else [], parameters)
        is_first = bool(new) and not versions and parameters["version"] is None  # there is nothing to compare
        if not is_first or parameters["durable"]:
            parts = {"updated": bool(rest), "sealed": are_sealed(rest, before), "deleted": bool(parameters["gone"])}
            shape = Shape(frozenset(name for name in parts if parts[name]), (("updated", range(len(rest))),))
            parameters |= token_parameters(rest, before) | {"key_ids": key_ids}
            sql = shaped(self._queries["apply_account"], shape)
            [(same, active, is_written)] = await transaction.fetch(sql, parameters)
        # The conflict first: of an erased tenant the data key is gone too, but there is nothing left to seal anew.
        _require(same)
        if not active:
            raise DataKeyInactiveError
        if parameters["has_row"] and parameters["version"] is None:
            is_written = bool(await transaction.fetch(self._queries["insert_row"], parameters))
        _require(is_written or not parameters["has_row"])

    async def _insert(
        self, transaction: Transaction, before: AccountState, new: Sequence[StoredToken], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Insert tokens of kinds that were absent; return the loaded versions with those of these tokens."""
        if not new:
            return {}
        sql = shaped(self._queries["insert_tokens"], Shape(frozenset({"sealed"}), (("inserted", range(len(new))),)))
        rows = await transaction.fetch(sql, parameters | token_parameters(new, before))
        _require(len(rows) == len(new))
        _, versions, _ = before.version
        return {"versions": versions_text(versions | {TokenKind(kind): version for kind, version in rows})}


def _require(is_unchanged: object) -> None:
    if not is_unchanged:
        raise _ChangedError
