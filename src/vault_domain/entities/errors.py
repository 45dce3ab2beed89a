"""The errors of the vault: every error that the vault raises on purpose is a `VaultError`.

The message, arguments and cause of an error never hold a value that was passed in or read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.secret import Secret
    from vault_domain.entities.unread_answer import UnreadAnswer


class VaultError(Exception):
    """The base class of all errors of the vault.

    Attributes:
        code: a stable identifier for programs, such as ``invalid_input``.
        retryable: whether the same call may succeed later without any change.
        account: the account concerned, or None.
        reason: a code with more detail, such as the provider's ``invalid_grant``, or None; never free text.
        in_doubt: whether the call may have taken effect, because the database's answer to a write was lost. If this is
            False, the write that failed has changed nothing.
    """

    default_code: ClassVar[str] = "vault_error"
    default_message: ClassVar[str] = "the vault could not do this"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        account: Account | None = None,
        reason: str | None = None,
        in_doubt: bool = False,
    ) -> None:
        super().__init__(message or self.default_message)
        self.code = code or self.default_code
        self.retryable = self.default_retryable if retryable is None else retryable
        self.account = account
        self.reason = reason
        self.in_doubt = in_doubt

    def __str__(self) -> str:
        """Return the message, followed by provider and reason if they are known and the message lacks them."""
        message = super().__str__()
        provider = None if self.account is None else self.account.provider
        known = [part for part in (provider, self.reason) if part is not None and part not in message]
        return f"{message} ({', '.join(known)})" if known else message


class InvalidInputError(VaultError, ValueError):
    """An argument breaks a rule, so nothing was done. The message names the argument and the rule, not the value."""

    default_code = "invalid_input"
    default_message = "an argument is not valid"


class ConfigurationError(VaultError):
    """With this configuration, the vault cannot be opened or cannot continue."""

    default_code = "configuration"
    default_message = "the vault's configuration is not valid"


class WrongEncryptionSecretError(ConfigurationError):
    """The configured secret does not belong to this database, or the stored key parameters were changed."""

    default_code = "wrong_encryption_secret"
    default_message = (
        "the encryption secret does not match this database (or its stored key parameters were changed); "
        "no key and no token was written"
    )


class SchemaOutdatedError(ConfigurationError):
    """The database lacks tables or migrations that this release needs."""

    default_code = "schema_outdated"
    default_message = "the database schema is missing or older than this release; run `token-vault init`"


class TokenNotFoundError(VaultError):
    """Nothing is stored under this key. The error is the same if only another tenant has such a token."""

    default_code = "token_not_found"
    default_message = "no such token"


class GenerationConflictError(VaultError):
    """The stored generation is not the expected one, because another writer stored or deleted a value meanwhile."""

    default_code = "generation_conflict"
    default_message = "the stored token is not of the expected generation"


class ReauthorizationRequiredError(VaultError):
    """The user must connect the account again, because its tokens are invalid or expired and cannot be refreshed."""

    default_code = "reauthorization_required"
    default_message = "the account must be connected again by its user"


class ConsentRequiredError(ReauthorizationRequiredError):
    """An API or the provider asks for more than the user has granted; pass this error to `Connector.begin`.

    ``reason`` is ``insufficient_scope``, ``insufficient_claims``, ``insufficient_user_authentication``, or the
    provider's error code.

    Attributes:
        scopes: the scopes that are missing; empty if the API names none.
        parameters: what to add to the request for authorization: ``claims`` (JSON), ``acr_values``, ``max_age``.
    """

    default_code = "consent_required"
    default_message = "the user must grant more than before: pass this error to Connector.begin as challenge"

    def __init__(
        self,
        message: str | None = None,
        *,
        scopes: Sequence[str] = (),
        parameters: Mapping[str, str] | None = None,
        account: Account | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, account=account, reason=reason)
        self.scopes = tuple(scopes)
        self.parameters = dict(parameters or {})


class RefreshFailedError(VaultError):
    """The provider gave no new access token this time.

    Refreshers raise this error too. They set ``outcome_unknown`` to:

    - False, if the provider did not consume the credential (refused connection, 429, 503).
    - True, if the provider may have consumed the credential (timeout, reset, 500, unreadable answer).

    Attributes:
        retry_after: time to wait before the next attempt, or None.
        outcome_unknown: whether the provider may have consumed the credential despite the failure.
        refresh_token: a new refresh token that came without an access token, or None. The vault stores it.
        answer: an answer with the status 2xx from which no tokens could be read, or None. The vault keeps it sealed.
    """

    default_code = "refresh_failed"
    default_message = "the provider could not refresh the token now"
    default_retryable = True

    def __init__(
        self,
        message: str | None = None,
        *,
        account: Account | None = None,
        reason: str | None = None,
        retry_after: timedelta | None = None,
        outcome_unknown: bool = False,
        refresh_token: Secret | None = None,
        answer: UnreadAnswer | None = None,
    ) -> None:
        super().__init__(message, account=account, reason=reason)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.refresh_token = refresh_token
        self.answer = answer


class RefreshNotPersistedError(VaultError):
    """The provider answered, but neither the database nor a journal could store the new tokens yet.

    This process keeps the sealed tokens in memory and stores them when the database is back.
    """

    default_code = "refresh_not_persisted"
    default_message = "the refreshed tokens could not be stored yet; this process keeps trying"


class ProviderConfigurationError(VaultError):
    """The provider refuses this vault's client or request, or the vault has no refresher for the provider.

    No token was changed.

    Attributes:
        refused: whether the provider answered that it refuses the request. Refreshers pass False if the provider was
            not asked, or if its answer says nothing about the account, such as a redirect. Refusals of one account that
            go on for days exhaust its credential; ``invalid_client`` does not count, because it concerns the client.
    """

    default_code = "provider_configuration"
    default_message = "the provider refuses the OAuth client or its request"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        retryable: bool | None = None,
        account: Account | None = None,
        reason: str | None = None,
        refused: bool = True,
    ) -> None:
        super().__init__(message, code=code, retryable=retryable, account=account, reason=reason)
        self.refused = refused


class DecryptionError(VaultError):
    """A stored value cannot be decrypted, because it was changed, was moved to another row, or lost its data key.

    The vault also raises this error for a row that is damaged or belongs to another key.

    Attributes:
        keys: the keys whose values could not be read. If a row of an account is damaged, these are the account's keys
            of all kinds. Empty if the tenant's data key cannot be used.
    """

    default_code = "decryption_failed"
    default_message = "a stored value could not be decrypted"

    def __init__(
        self,
        message: str | None = None,
        *,
        account: Account | None = None,
        keys: Sequence[TokenKey] = (),
    ) -> None:
        super().__init__(message, account=account)
        self.keys = tuple(keys)


class KeyUnavailableError(VaultError):
    """The master key for this operation cannot be used; the stored values are intact.

    Possible causes: the key service does not answer, the key was retired, the key's state was set back, or this process
    lacks the key.
    """

    default_code = "key_unavailable"
    default_message = "the master key is not available now"
    default_retryable = True


class StorageError(VaultError):
    """The database failed or could not be reached; `retryable` says whether a retry may succeed.

    If the database gave the error, ``reason`` is one of `vault_domain.entities.causes.STORAGE_CAUSES` or the database's
    own code, such as an SQLSTATE. The message of such an error names host, port and database, or the SQLite file.
    """

    default_code = "storage"
    default_message = "the database could not do this"


class HostTransactionError(VaultError):
    """A call on the host's own connection cannot be part of the host's transaction; it has written nothing.

    `reason` says why. With the reason ``refreshing``, the account is being refreshed, and the host may repeat its whole
    transaction a moment later.
    """

    default_code = "host_transaction"
    default_message = "this cannot be part of the host's transaction"


class ConnectError(VaultError):
    """An account could not be connected, and nothing was stored; the user may start again.

    docs/reference/errors.md lists the codes and reasons.
    """

    default_code = "connect_failed"
    default_message = "the account could not be connected"


class StateRefusedError(ConnectError):
    """The ``state`` of a callback was not made for this user's session, has expired, or was used before.

    Attributes:
        reason: ``unreadable`` (forged, changed, of another session or redirect URI, or of a tenant that was erased
            since), ``expired`` or ``used``.
    """

    default_code = "state_refused"
    default_message = "the state of this callback is not valid; start again"


class AuthorizationRefusedError(ConnectError):
    """The provider or the user refused the authorization; ``reason`` is its registered code or ``refused``."""

    default_code = "authorization_refused"
    default_message = "the provider did not authorize the access"


class IdentityRefusedError(ConnectError):
    """The provider's answer does not prove whose account was connected; ``reason`` names the failed check."""

    default_code = "identity_refused"
    default_message = "the provider's answer does not prove whose account this is"


class OtherAccountError(ConnectError):
    """The user chose another account at the provider than the one to connect again; no tokens were stored."""

    default_code = "other_account"
    default_message = "another account was chosen at the provider than the one to connect again"
