"""Answers of providers that could not be read."""

from collections import Counter

from tests.examples.dict_store.database import Port, atomic, page

from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.unread_answers import KeptAnswer
from vault_domain.transitions.events import kept_event


class DictUnreadAnswers(Port):
    """Implements `UnreadAnswers`."""

    @atomic
    def keep(self, transaction, attempt, sealed, *, actor):
        tables, account = transaction.tables, attempt.account
        record = tables.data_keys.get((account.tenant_id, sealed.data_key_id))
        if record is None or record.state is not DataKeyState.ACTIVE:
            raise DataKeyInactiveError
        token = tables.tokens.get(attempt.credential.key)
        if token is None or token.info.value_id != attempt.credential.value_id or account not in tables.accounts:
            return Change(result=False)
        before = tables.unread.get(account)
        is_same = before is not None and before.attempt_id == attempt.attempt_id
        kept_at = before.kept_at if is_same else transaction.now
        tables.unread[account] = KeptAnswer(account, attempt.attempt_id, sealed, kept_at)
        events = () if is_same else (kept_event(attempt, transaction.now, actor),)
        transaction.append(events)
        return Change(result=True, events=events)

    async def kept(self, after, limit):
        return page(self._tables.unread.values(), _place, limit, after)

    async def count(self):
        return Counter(account.provider for account in self._tables.unread)

    @atomic
    def drop(self, transaction, answer):
        unread = transaction.tables.unread
        if answer.account in unread and unread[answer.account].attempt_id == answer.attempt_id:
            del unread[answer.account]


def _place(answer):
    return answer.kept_at, answer.attempt_id
