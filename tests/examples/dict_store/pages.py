"""Lists and counts of tokens and accounts."""

from collections import Counter
from operator import itemgetter

from attrs import evolve
from tests.examples.dict_store.database import Port, page

from vault_domain.entities.account import TokenKind
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, TokenStatus
from vault_domain.ports.pages import MOST_COUNTED, Condemned, Ending, Expiring, Owned, Refreshed
from vault_domain.transitions.values import is_ending


class DictPages(Port):
    """Implements `Pages`."""

    async def tokens(self, query, *, limit, after):
        now = self._clock.now()
        found = [token.info for state, token in self._tables.tokens if _is_wanted(query, state, token, now)]
        return page(found, query.place, limit, after)

    async def accounts(self, query, *, limit, after):
        records = [
            state.record
            for account, state in self._tables.accounts.items()
            if query.tenant_id in (None, account.tenant_id)
            and query.provider in (None, account.provider)
            and (query.text is None or _is_named(state.record, query.text))
            and (query.sibling_of is None or _is_sibling(state, query.sibling_of))
        ]
        return page(records, query.place, limit, after), self._clock.now()

    async def kept_answers(self, *, limit, after):
        kept = [state for state in self._tables.accounts.values() if state.answer is not None]
        places = [(state.account, (state.answer.kept_at, state.answer.attempt_id)) for state in kept]
        return page(places, itemgetter(1), limit, after)

    async def tenants(self, *, limit, after):
        return page({account.tenant_id for account in self._tables.accounts}, str, limit, after)

    async def count_accounts(self):
        now, found = self._clock.now(), []
        for provider in sorted({account.provider for account in self._tables.accounts}):
            states = [state for account, state in self._tables.accounts.items() if account.provider == provider]
            due = [state.row.due_at for state in states if state.row and state.row.due_at and state.row.due_at <= now]
            found.append(AccountCount(provider, len(states), len(due), now - min(due, default=now)))
        return found

    async def count_health(
        self, tenant_id, buffer, suspicion=MOST_CONFIRMATION, notice=RECONNECT_NOTICE, most=MOST_COUNTED
    ):
        now = self._clock.now()
        counts = Counter(
            (token.key.provider, token.info.health(now, buffer, suspicion, notice))
            for _, token in self._tables.tokens
            if tenant_id in (None, token.key.tenant_id)
        )
        return [HealthCount(provider, health, count) for (provider, health), count in counts.items()]


def _is_wanted(query, state, token, now):
    key, info = token.key, token.info
    match query:
        case Owned():
            return key.tenant_id == query.tenant_id and query.provider in (None, key.provider)
        case Expiring():
            return (
                key.kind is TokenKind.ACCESS_TOKEN
                and info.status is TokenStatus.VALID
                and info.expires_at is not None
                and info.expires_at <= now + query.within
                and query.provider in (None, key.provider)
            )
        case Ending():
            return key.kind is TokenKind.REFRESH_TOKEN and not token.is_end_told and is_ending(info, now, query.notice)
        case Condemned():
            return (
                key.provider == query.provider
                and query.tenant_id in (None, key.tenant_id)
                and info.status is TokenStatus.INVALID
                and info.rejected_at is not None
                and query.since <= info.rejected_at <= query.until
                and (query.client is None or _is_of_client(state, token, query.client, {None, query.client}))
                and (query.stored_since is None or (info.last_refreshed_at or info.created_at) >= query.stored_since)
            )
        case Refreshed():
            return (
                (key.provider, key.kind) == (query.provider, TokenKind.ACCESS_TOKEN)
                and info.last_refreshed_at is not None
                and info.last_refreshed_at >= query.since
                and _was_granted(state, query.since)
                and _is_of_client(state, token, query.client, {query.client})
            )


def _was_granted(state, since):
    """Return whether an account's latest attempt began at this time or later, and was granted."""
    row = state.row
    if row is None or row.refresh.attempt_id is None or row.refresh.sent_at is None:
        return False
    return row.committed_attempt_id == row.refresh.attempt_id and row.refresh.sent_at >= since


def _is_sibling(state, account):
    return (
        evolve(state.account, tenant_id=account.tenant_id) == account
        and state.account != account
        and not state.tokens.keys().isdisjoint((TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN))
    )


def _is_named(record, text):
    names = (record.account.identifier, record.label)
    # `bytes.lower` changes only the letters A to Z.
    is_one = any((name or "").encode().lower().startswith(text.encode()) for name in names)
    return is_one or record.account.provider == text


def _is_of_client(state, token, client, clients):
    """Return whether a token is of a client: by its account's endpoint, or if that has none, by its own client."""
    if state.row is not None and state.row.endpoint is not None:
        return state.row.endpoint == client
    return not client or token.info.client in clients
