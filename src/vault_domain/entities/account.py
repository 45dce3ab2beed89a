"""Accounts and token keys, and the connection state that a host shows for an account."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from attrs import field, frozen

from vault_domain.entities.choice import Choice
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.text import as_identifier, as_provider, as_tenant_id, plain_text


class TokenKind(Choice):
    """The kind of a stored value. It is not RFC 6749's token_type, such as "Bearer"."""

    ACCESS_TOKEN = "access_token"
    REFRESH_TOKEN = "refresh_token"
    API_KEY = "api_key"
    WEBHOOK_SECRET = "webhook_secret"


_set = object.__setattr__  # attrs itself uses this to set the fields of frozen instances
_KIND_RULE = f"kind must be one of {', '.join(TokenKind)}"
_KINDS = {kind.value: kind for kind in TokenKind}


def _as_kind(value: object) -> TokenKind:
    if type(value) is TokenKind:
        return value
    text = plain_text(value)
    kind = None if text is None else _KINDS.get(text)
    if kind is None:
        raise InvalidInputError(_KIND_RULE)
    return kind


if TYPE_CHECKING:
    # Type checkers take the types of a constructor's parameters from its converters. The converters check any object,
    # so their own types would be too wide.

    def _tenant_id(value: str | int | UUID) -> str: ...
    def _provider(value: str) -> str: ...
    def _identifier(value: str | None) -> str | None: ...
    def _kind(value: TokenKind | str) -> TokenKind: ...
else:
    _tenant_id, _provider, _identifier, _kind = as_tenant_id, as_provider, as_identifier, _as_kind


@scrubbed_class
@frozen(cache_hash=True)  # a refresh looks its account up in many dictionaries
class Account:
    """One account of a tenant at a provider.

    Args:
        tenant_id: the host's tenant: ``str``, ``int`` or ``UUID``; kept as text, 1 to 255 characters.
        provider: the provider's name, ``[a-z0-9][a-z0-9_.-]{0,63}``; the host chooses it.
        identifier: distinguishes several accounts at one provider, such as an e-mail address or a user id; kept in
            Unicode NFC. None and ``""`` mean the same account.

    Raises:
        InvalidInputError: a rule is broken; the message does not contain the value.
    """

    tenant_id: str = field(converter=_tenant_id)
    provider: str = field(converter=_provider)
    identifier: str | None = field(default=None, converter=_identifier)

    @scrubbed
    def key(self, kind: TokenKind) -> TokenKey:
        """Return the key of this account's token of a kind."""
        return _key_of(self.tenant_id, self.provider, _as_kind(kind), self.identifier)


@scrubbed_class
@frozen(cache_hash=True)  # a read looks its key up in several dictionaries
class TokenKey:
    """The key of one token: at most one value is stored under it.

    Args:
        tenant_id: see `Account`.
        provider: see `Account`.
        kind: a `TokenKind` or its text.
        identifier: see `Account`.

    Raises:
        InvalidInputError: a rule is broken; the message does not contain the value.
    """

    tenant_id: str = field(converter=_tenant_id)
    provider: str = field(converter=_provider)
    kind: TokenKind = field(converter=_kind)
    identifier: str | None = field(default=None, converter=_identifier)

    @property
    def account(self) -> Account:
        """The account that this key belongs to."""
        return stored_account(self.tenant_id, self.provider, self.identifier or "")


def is_key_of(key: TokenKey, account: Account, kind: TokenKind) -> bool:
    """Return whether ``key == account.key(kind)``, without making that key."""
    return (
        key.kind is kind
        and key.tenant_id == account.tenant_id
        and key.provider == account.provider
        and key.identifier == account.identifier
    )


def access_key(account: Account) -> TokenKey:
    """Return the key of an account's access token, in a third of the time of `Account.key`."""
    return _key_of(account.tenant_id, account.provider, TokenKind.ACCESS_TOKEN, account.identifier)


def stored_account(tenant_id: str, provider: str, identifier: str) -> Account:
    """Return the account of a row without checking it again; ``""`` stands for no identifier."""
    account: Account = object.__new__(Account)
    _set(account, "_attrs_cached_hash", None)
    _set(account, "tenant_id", tenant_id)
    _set(account, "provider", provider)
    _set(account, "identifier", identifier or None)
    return account


def stored_key(tenant_id: str, provider: str, kind: str, identifier: str) -> TokenKey:
    """Return the key of a row and check only its kind; ``""`` stands for no identifier.

    The parts were checked when the row was stored. Checking all again would take most of the time of a long list.
    """
    return _key_of(tenant_id, provider, _as_kind(kind), identifier or None)


def _key_of(tenant_id: str, provider: str, kind: TokenKind, identifier: str | None) -> TokenKey:
    """Return a key made of checked parts."""
    key: TokenKey = object.__new__(TokenKey)
    _set(key, "_attrs_cached_hash", None)
    _set(key, "tenant_id", tenant_id)
    _set(key, "provider", provider)
    _set(key, "kind", kind)
    _set(key, "identifier", identifier)
    return key


class ConnectionState(Choice):
    """The state that a host shows for an account. It is computed from the stored data and is not stored itself."""

    CONNECTED = "connected"
    RETRYING = "retrying"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"


@frozen
class AccountInfo:
    """An account as a host lists it, without secrets.

    Attributes:
        account: the account.
        state: the connection state; REAUTHORIZATION_REQUIRED means that the user must connect the account again.
        reason: the error code that explains a state other than CONNECTED, or None; ``key_denied`` and
            ``tenant_key_unavailable`` mean that the tenant's own master key cannot be used now. In the result of
            `store_token_set` it may also be the `refresh_token_problem` of the token set.
        label: the latest label that was given with a token set, such as an e-mail address, or None.
        scopes: the scopes of the access token.
        expires_at: expiry of the access token, UTC, or None.
        refresh_token_expires_at: expiry of the refresh token, UTC; None if it is not known. Unless a refresh brings
            another refresh token or a later expiry, the user must connect the account again before this time.
        refresh_token_lifetime: time for which the provider issued the refresh token, or None if unknown.
        last_refreshed_at: the access token's `TokenInfo.last_refreshed_at`.
        next_attempt_at: time of the next attempt after a failure, UTC, or None.
    """

    account: Account
    state: ConnectionState
    reason: str | None = None
    label: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    last_refreshed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    refresh_token_expires_at: datetime | None = None
    refresh_token_lifetime: timedelta | None = None


@frozen
class AccountDeletion:
    """The result of `delete_account`.

    Attributes:
        deleted: number of deleted tokens.
        revoked: whether the provider confirmed the revocation. None if nothing was sent to the provider, for one of
            these reasons: no revocation was requested, the account has no readable refresh or access token, no
            refresher of the provider can revoke, there is no revocation endpoint, or `reason` is set.
        reason: ``shared_grant`` if nothing was revoked, because a revocation would also have ended the grant of another
            tenant's account with the same provider and identifier; ``not_home`` if nothing was revoked, because the
            database is a copy (see `TokenVault.adopt`); else None.
    """

    deleted: int
    revoked: bool | None = None
    reason: str | None = None
