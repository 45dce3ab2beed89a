"""Decides when refusals pause an OAuth client, which account may probe, and when rejections condemn no credential."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from vault_domain.entities.clients import CLIENT_MISMATCH, CLIENT_REASONS, MASS_REJECTION, ClientRecord
from vault_domain.entities.errors import InvalidInputError
from vault_domain.rules.bounds import MOST_ACCOUNTS

if TYPE_CHECKING:
    from vault_domain.entities.account import Account
    from vault_domain.entities.clients import ClientScope

_DOMAIN = b"token-vault client fingerprint v1"
_ENDPOINT_DOMAIN = b"token-vault client at an endpoint v1"
_MARK_DOMAIN = b"token-vault refused account v1"
_SIZE, _HALF_MARK = 16, 2
MARK_SIZE = 2 * _HALF_MARK
"""Size of a mark (`mark_of`) in bytes."""

_REPEATED = 3
"""Number of probe intervals that an account waits if it was refused lately, so that other accounts probe first."""

_NEVER_A_FLEET = 2**31

LONGEST_WAIT = timedelta(minutes=5)
"""Longest backoff of one account for a fault of the client, so that it is refreshed soon after the fault is mended."""


@frozen
class ClientRules:
    """The numbers by which the vault distinguishes a fault of its client, or of the provider, from dead grants.

    Attributes:
        accounts: number of different accounts that are refused, without a success in between, before the client is
            paused. If the vault has several tenants, the accounts must belong to at least two of them.
        probe_interval: time between two probes of a paused client.
        fleet: least number of different accounts that the provider rejects within `window` before the vault calls this
            a mass rejection, pauses the client and condemns no credential. If the vault has several tenants, the
            accounts must belong to at least two of them.
        window: length of the time in which rejections and successes are counted and compared.
        longest: after this time without a success, rejected credentials are condemned despite a mass rejection.
    """

    accounts: int = 3
    probe_interval: timedelta = timedelta(seconds=60)
    fleet: int = 5
    window: timedelta = timedelta(minutes=10)
    longest: timedelta = timedelta(days=4)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.accounts <= MOST_ACCOUNTS or self.fleet < 2:
            raise InvalidInputError(f"a pause needs 1 to {MOST_ACCOUNTS} accounts, and a mass rejection at least 2")
        if min(self.probe_interval, self.window, self.longest) <= timedelta(0):
            raise InvalidInputError("the times of pauses must be positive")


def fingerprint(provider: str, client_id: str) -> bytes:
    """Return the fingerprint of a client at a provider.

    The key of this hash is a constant, because a client id is no secret (RFC 6749 section 2.2). The constant only makes
    the hash differ from other hashes of the same text. The fingerprint does not depend on the master key, and holds
    nothing of the client's secret.
    """
    return hmac.digest(_DOMAIN, f"{provider}\0{client_id}".encode(), "sha256")[:_SIZE]


def at_endpoint(client: bytes | None, token_url: str) -> bytes:
    """Return the fingerprint of a client (None: it has no name) at one of several token endpoints."""
    return hmac.digest(_ENDPOINT_DOMAIN, (client or b"") + b"\0" + token_url.encode(), "sha256")[:_SIZE]


def mark_of(account: Account) -> bytes:
    """Return two bytes for an account's tenant, and two for the account.

    They suffice to distinguish a few tenants and accounts, and are too few to identify one.
    """
    text = f"{account.tenant_id}\0{account.provider}\0{account.identifier or ''}"
    parts = (hashlib.sha256(_MARK_DOMAIN + each.encode()).digest() for each in (account.tenant_id, text))
    return b"".join(part[:_HALF_MARK] for part in parts)


def is_mismatch(stored: bytes | None, client: bytes | None) -> bool:
    """Return whether a credential is known to be stored under another client than the one that is configured now."""
    return stored is not None and client is not None and stored != client


def counted(
    record: ClientRecord | None,
    scope: ClientScope,
    account: Account,
    now: datetime,
    rules: ClientRules,
    succeeded: bool,
    *,
    is_sole: bool = False,
) -> ClientRecord:
    """Return the record after the refusal of one more account; its ``opened_at`` is set once the client is paused.

    A tenant can bring about refusals of its own accounts at will. So if the vault has several tenants, the refused
    accounts must belong to at least two of them.

    Args:
        record: the stored record, or None.
        scope: names the refusals that the record counts.
        account: the account whose refresh was refused.
        now: the store's time.
        rules: the configured numbers.
        succeeded: whether the client succeeded since the first counted refusal. If so, and if the client is not paused,
            counting begins again.
        is_sole: whether the vault has no other tenant than the account's.
    """
    mark = mark_of(account)
    if record is None or (record.opened_at is None and (succeeded or not record.marks)):
        record = ClientRecord(scope, since=now, refused_at=now)
    others = tuple(each for each in record.marks if each != mark)
    record = evolve(record, refused_at=now, marks=(*others, mark)[-max(rules.accounts, 2) :])
    tenants = {each[:_HALF_MARK] for each in record.marks}
    if record.opened_at is None and len(record.marks) >= rules.accounts and (is_sole or len(tenants) > 1):
        return opened(record, now)
    return record


def opened(record: ClientRecord, now: datetime) -> ClientRecord:
    """Return the record of a pause that begins now."""
    return evolve(record, opened_at=now, probe_at=now)


def is_paused(record: ClientRecord, now: datetime, rules: ClientRules) -> bool:
    """Return whether the scope is paused; a mass rejection pauses it for `ClientRules.longest` at most."""
    if record.opened_at is None:
        return False
    return record.scope.reason != MASS_REJECTION or now - record.opened_at < rules.longest


def concerns(record: ClientRecord, stored: bytes | None, client: bytes | None, endpoint: bytes | None = None) -> bool:
    """Return whether a pause concerns a credential.

    Args:
        record: the pause.
        stored: the client under which the credential was stored, or None if unknown.
        client: the client that is presented to the provider.
        endpoint: the client at the account's token endpoint (`at_endpoint`); None if all accounts share the endpoint.
    """
    if record.scope.client != (endpoint or client):
        return False
    return record.scope.reason != CLIENT_MISMATCH or is_mismatch(stored, client)


def holds_back(record: ClientRecord, account: Account, code: str | None) -> bool:
    """Return whether a pause that concerns an account's credential holds the account back.

    A mass rejection holds back only accounts that were rejected during it. The grant of any other account may be alive,
    and nobody but the provider can tell. If such an account is rejected too, its credential is not condemned, and the
    account is held back from then on. So a mass rejection costs one more request for each account at most.

    Args:
        record: the pause.
        account: the account.
        code: the error code of the account's latest refresh, or None.
    """
    return record.scope.reason != MASS_REJECTION or _was_refused(record, account, code)


def _was_refused(record: ClientRecord, account: Account, code: str | None) -> bool:
    """Return whether an account was refused lately, or was rejected during a mass rejection and not condemned."""
    is_spared = record.scope.reason == MASS_REJECTION and code in CLIENT_REASONS
    return is_spared or mark_of(account) in record.marks


def next_probe(
    record: ClientRecord, account: Account | None, now: datetime, rules: ClientRules, code: str | None = None
) -> datetime:
    """Return the time from which an account may probe a paused client; ``now`` or earlier: it may probe now.

    An account that was refused lately waits longer, because a refresh of another account says more about the client.
    Otherwise the dead grants of a mass rejection would take all probes. Then no account with a live grant could probe,
    so no success would end the pause.

    Args:
        record: the pause.
        account: the account; None asks for any account that was not refused lately.
        now: the store's time.
        rules: the configured numbers.
        code: the error code of the account's latest refresh, or None.
    """
    if record.probe_at is None or now < record.probe_at:  # a probe in the future: the clock was set back
        return now
    is_known = account is not None and _was_refused(record, account, code)
    return record.probe_at + rules.probe_interval * (_REPEATED if is_known else 1)


def is_mass(rejected: int, succeeded: int, rules: ClientRules, *, is_one_tenants: bool) -> bool:
    """Return whether the provider rejects most of a fleet: many accounts are rejected, and fewer succeed.

    Args:
        rejected: number of rejected accounts.
        succeeded: number of successes in the same time.
        rules: the configured numbers.
        is_one_tenants: whether all rejected accounts belong to one of several tenants of the vault. Such rejections say
            nothing about the other tenants' grants.
    """
    return rejected >= rules.fleet and rejected > succeeded and not is_one_tenants


def believing(rules: ClientRules) -> ClientRules:
    """Return rules by which a rejected credential is condemned, even while a mass rejection pauses the client."""
    return evolve(rules, fleet=_NEVER_A_FLEET, longest=timedelta.resolution)


def after_restore(rules: ClientRules, stored_at: datetime | None, restored_at: datetime | None) -> ClientRules:
    """Return the rules for a rejection, given when a backup of the database went into use.

    The provider may have replaced a credential of the backup since. So the rejection of such a credential is believed,
    however many are rejected.

    Args:
        rules: the configured numbers.
        stored_at: time at which the account's tokens were last stored, or None.
        restored_at: the latest time at which a backup went into use; None: never.
    """
    if stored_at is None or restored_at is None or stored_at >= restored_at:
        return rules
    return believing(rules)


def is_one_tenants(record: ClientRecord, now: datetime, rules: ClientRules) -> bool:
    """Return whether a client is refused for so many accounts of one tenant that it would be paused for several."""
    if record.opened_at is not None or record.scope.reason == MASS_REJECTION:
        return False
    is_late = now - record.refused_at > max(rules.window, 10 * rules.probe_interval)
    return len(record.marks) >= rules.accounts and not is_late


def is_abandoned(record: ClientRecord, now: datetime, rules: ClientRules) -> bool:
    """Return whether the last refusal of a client is so long ago that the client is no longer in use.

    A paused client is probed, so its refusals are frequent; one that is not paused is asked again within hours.
    """
    paused = max(rules.window, 10 * rules.probe_interval)
    return now - record.refused_at > (rules.longest if record.opened_at is None else paused)
