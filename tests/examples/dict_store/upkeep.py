"""Used states and unread answers."""

from collections import Counter

from tests.examples.dict_store.accounts import require_active, state_of
from tests.examples.dict_store.database import Port, atomic, page

from vault_domain.ports.change import Change
from vault_domain.ports.upkeep import KeptAnswer, StateUse
from vault_domain.transitions.events import kept_event


class DictUpkeep(Port):
    """Implements `Upkeep`."""

    async def ping(self):
        """Return at once, because a dictionary always answers."""

    @atomic
    def use_state(self, tables, state_id, expires_at):
        used, now = tables.used_states, tables.now
        for gone in [key for key, ends in used.items() if ends <= now]:
            del used[gone]
        if expires_at <= now:
            return StateUse.EXPIRED
        if state_id in used:
            return StateUse.USED
        used[state_id] = expires_at
        return StateUse.FIRST

    @atomic
    def keep_answer(self, tables, attempt, sealed, *, actor):
        account = attempt.account
        require_active(tables, account.tenant_id, sealed)
        if state_of(tables, account).holds(attempt.credential) is None:
            return Change(result=False)
        before = tables.unread.get(account)
        is_same = before is not None and before.attempt_id == attempt.attempt_id
        kept_at = before.kept_at if is_same else tables.now
        tables.unread[account] = KeptAnswer(account, attempt.attempt_id, sealed, kept_at)
        return Change(True, tables.append(() if is_same else (kept_event(attempt, tables.now, actor),)))

    async def kept_answers(self, after, limit):
        return page(self._tables.unread.values(), lambda answer: (answer.kept_at, answer.attempt_id), limit, after)

    async def count_answers(self):
        return Counter(account.provider for account in self._tables.unread)

    @atomic
    def drop_answer(self, tables, answer):
        unread = tables.unread
        if answer.account in unread and unread[answer.account].attempt_id == answer.attempt_id:
            del unread[answer.account]
