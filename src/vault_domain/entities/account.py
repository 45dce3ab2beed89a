"""Who a token belongs to: accounts, keys and what a host shows of a connection."""

from __future__ import annotations

import enum
from datetime import datetime

from attrs import field, frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.text import as_identifier, as_provider, as_tenant_id


class TokenKind(enum.StrEnum):
    """What a stored value is. (RFC 6749's token_type, "Bearer", is another thing.)"""

    ACCESS_TOKEN = "access_token"
    REFRESH_TOKEN = "refresh_token"
    API_KEY = "api_key"
    WEBHOOK_SECRET = "webhook_secret"

    @classmethod
    def _missing_(cls, value: object) -> TokenKind:
        # The enum's own message would repeat the value.
        raise InvalidInputError(_KIND_RULE)


_set = object.__setattr__  # what attrs itself fills frozen instances with
_KIND_RULE = "kind must be one of access_token, refresh_token, api_key, webhook_secret"
_KINDS = {kind.value: kind for kind in TokenKind}


def _as_kind(value: object) -> TokenKind:
    kind = _KINDS.get(value) if isinstance(value, str) else None
    if kind is None:
        raise InvalidInputError(_KIND_RULE)
    return kind


@scrubbed_class
@frozen
class Account:
    """One account of a tenant at a provider.

    Args:
        tenant_id: the host's tenant: ``str``, ``int`` or ``UUID``; kept as text, 1 to 255 characters.
        provider: an open set of names, ``[a-z0-9][a-z0-9_.-]{0,63}``.
        identifier: tells several accounts at one provider apart (an e-mail address, a user id); kept in Unicode
            NFC. None and ``""`` are the same account.

    Raises:
        InvalidInputError: a rule is broken; the value is not repeated.
    """

    tenant_id: str = field(converter=as_tenant_id)
    provider: str = field(converter=as_provider)
    identifier: str | None = field(default=None, converter=as_identifier)

    @scrubbed
    def key(self, kind: TokenKind) -> TokenKey:
        """Return the key of this account's token of that kind."""
        return _key_of(self.tenant_id, self.provider, _as_kind(kind), self.identifier)


@scrubbed_class
@frozen
class TokenKey:
    """The place of one token: at most one value is stored under it.

    Args:
        tenant_id: see `Account`.
        provider: see `Account`.
        kind: a `TokenKind` or its text.
        identifier: see `Account`.

    Raises:
        InvalidInputError: a rule is broken; the value is not repeated.
    """

    tenant_id: str = field(converter=as_tenant_id)
    provider: str = field(converter=as_provider)
    kind: TokenKind = field(converter=_as_kind)
    identifier: str | None = field(default=None, converter=as_identifier)

    @property
    def account(self) -> Account:
        """The account that this key belongs to."""
        return stored_account(self.tenant_id, self.provider, self.identifier or "")


def stored_account(tenant_id: str, provider: str, identifier: str) -> Account:
    """Return the account of a row, whose parts were checked when it was stored; ``""`` stands for no identifier."""
    account: Account = object.__new__(Account)
    _set(account, "tenant_id", tenant_id)
    _set(account, "provider", provider)
    _set(account, "identifier", identifier or None)
    return account


def stored_key(tenant_id: str, provider: str, kind: str, identifier: str) -> TokenKey:
    """Return the key of a row, whose parts were checked when it was stored; ``""`` stands for no identifier.

    Checking them again is most of what a row of a long list costs.
    """
    return _key_of(tenant_id, provider, _as_kind(kind), identifier or None)


def _key_of(tenant_id: str, provider: str, kind: TokenKind, identifier: str | None) -> TokenKey:
    """Return a key of parts that were checked."""
    key: TokenKey = object.__new__(TokenKey)
    _set(key, "tenant_id", tenant_id)
    _set(key, "provider", provider)
    _set(key, "kind", kind)
    _set(key, "identifier", identifier)
    return key


class ConnectionState(enum.StrEnum):
    """What a host shows of an account. It is computed from what is stored, never stored itself."""

    CONNECTED = "connected"
    RETRYING = "retrying"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"


@frozen
class AccountInfo:
    """An account as a host lists it; there is no secret in it.

    Attributes:
        account: which account.
        state: what to show; REAUTHORIZATION_REQUIRED is "reconnect your account".
        reason: the error code behind a state other than CONNECTED, or None.
        label: the text given with the last token set, such as an e-mail address.
        scopes: those of the access token.
        expires_at: when the access token expires, UTC, or None.
        last_refreshed_at: UTC, or None.
        next_attempt_at: when the next refresh is due after a failure, UTC, or None.
    """

    account: Account
    state: ConnectionState
    reason: str | None = None
    label: str | None = None
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    last_refreshed_at: datetime | None = None
    next_attempt_at: datetime | None = None


@frozen
class AccountDeletion:
    """What `delete_account` did.

    Attributes:
        deleted: how many tokens were deleted.
        revoked: whether the provider confirmed the revocation; None where it was not asked for or has no endpoint.
    """

    deleted: int
    revoked: bool | None = None
