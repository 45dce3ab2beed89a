"""`TokenVault`: the face of the vault. It checks arguments and hands them to the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta

from vault_domain.entities.account import Account, AccountDeletion, AccountInfo, ConnectionState, TokenKey
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.imported import ImportReport
from vault_domain.entities.key_reports import ErasureReport
from vault_domain.entities.page import Page, walk_pages
from vault_domain.entities.reports import HealthReport, SweepReport
from vault_domain.entities.scrub import scrubbed, scrubbed_async
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.text import as_duration, as_error_code, as_label, as_provider, as_tenant_id
from vault_domain.entities.token import MarkOutcome, Token, TokenInfo, UsableToken
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade import arguments as read
from vault_domain.facade.arguments import StoreItem
from vault_domain.facade.keys import VaultKeys
from vault_domain.services.tokens.importing import ImportOptions, ImportRows, Progress
from vault_domain.services.use_cases import VaultServices


class TokenVault:
    """Keeps a service's tokens; made by `open_vault`.

    Every method may raise `InvalidInputError` (nothing happened) and `StorageError`; those that seal or open a value
    also `KeyUnavailableError`. A key of another tenant answers exactly as one that does not exist.
    """

    __slots__ = ("_actor", "_services")

    def __init__(self, services: VaultServices, actor: str | None = None) -> None:
        self._services = services
        self._actor = actor

    @scrubbed
    def with_actor(self, actor: str | None) -> TokenVault:
        """Return a view of this vault whose audit events carry ``actor`` (1 to 255 characters, or None)."""
        return TokenVault(self._services, as_label(actor, "actor"))

    @property
    def keys(self) -> VaultKeys:
        """The keys behind this vault: their status and their rotation."""
        return VaultKeys(self._services.keys, self._actor)

    # Single tokens

    @scrubbed_async
    async def store_token(
        self,
        key: TokenKey,
        value: Secret | str,
        *,
        expires_at: datetime | None = None,
        scopes: Iterable[str] | None = None,
        expected_generation: int | None = None,
    ) -> TokenInfo:
        """Store a value, replacing what is there; it becomes VALID and its error is cleared.

        Args:
            key: where.
            value: up to 64 KiB of UTF-8.
            expires_at: zone-aware; None clears what was there.
            scopes: None clears what was there.
            expected_generation: the generation that must be stored (0: nothing may be); None: it does not matter.

        Raises:
            GenerationConflictError: another generation is stored.
        """
        secret = as_secret(value)
        del value  # a traceback of what follows must not hold it
        draft = read.as_draft(key, secret, expires_at, scopes)
        generation = read.as_generation(expected_generation)
        infos = await self._services.tokens.store([draft], actor=self._actor, expected_generation=generation)
        return infos[0]

    @scrubbed_async
    async def store_tokens(self, items: Iterable[StoreItem]) -> list[TokenInfo]:
        """Store many values at once, all or nothing.

        Args:
            items: ``(key, value)`` or ``(key, value, expires_at)``; each key once.
        """
        drafts = read.as_drafts(items)
        del items  # a traceback of what follows must not hold them
        return await self._services.tokens.store(drafts, actor=self._actor)

    @scrubbed_async
    async def get_token(self, key: TokenKey) -> Token | None:
        """Return the stored token, whatever its status, or None. The use is recorded, later and in batches.

        Raises:
            DecryptionError: the stored value does not open in its place.
        """
        return await self._services.tokens.get(read.as_key(key))

    @scrubbed_async
    async def get_tokens(self, keys: Iterable[TokenKey]) -> dict[TokenKey, Token]:
        """Return the tokens that are stored under these keys.

        Raises:
            DecryptionError: at least one does not open; its ``keys`` name all that do not.
        """
        return await self._services.tokens.get_many(read.as_keys(keys))

    @scrubbed_async
    async def get_access_token(
        self, account: Account, *, refresh_buffer: timedelta | None = None
    ) -> UsableToken | None:
        """Return the access token, or None where it is missing, invalid or expired. Never calls a provider.

        Args:
            account: whose.
            refresh_buffer: how long before its end it needs a refresh, taken as it is; None takes the configured
                one, capped at half of the token's lifetime where that is known.

        Raises:
            DecryptionError: the stored value does not open in its place.
        """
        buffer = None if refresh_buffer is None else as_duration(refresh_buffer, "refresh_buffer")
        return await self._services.tokens.get_access(read.as_account(account), buffer)

    @scrubbed_async
    async def get_refresh_token(self, account: Account) -> Token | None:
        """Return the refresh token, or None where it is missing, invalid or expired.

        Raises:
            DecryptionError: the stored value does not open in its place.
        """
        return await self._services.tokens.get_refresh(read.as_account(account))

    @scrubbed_async
    async def mark_token_invalid(self, token: Token | TokenInfo, error_code: str) -> MarkOutcome:
        """Make exactly this value invalid; one that was replaced or deleted meanwhile is STALE.

        Args:
            token: as the vault returned it.
            error_code: ``[a-z0-9_]{1,64}``: an RFC 6749 / 6750 code or the host's own; free text is refused, since
                providers echo tokens in it.
        """
        info, code = read.as_token_info(token), as_error_code(error_code)
        return await self._services.tokens.mark_invalid(info, code, actor=self._actor)

    @scrubbed_async
    async def delete_token(self, key: TokenKey) -> bool:
        """Delete one token; return whether there was one."""
        return await self._services.tokens.delete(read.as_key(key), actor=self._actor)

    @scrubbed_async
    async def delete_provider_tokens(self, tenant_id: str, provider: str) -> int:
        """Delete all of a tenant's tokens at a provider; return how many."""
        tenant, name = as_tenant_id(tenant_id), as_provider(provider)
        return await self._services.tokens.delete_provider(tenant, name, actor=self._actor)

    # Accounts

    @scrubbed_async
    async def store_token_set(self, account: Account, token_set: TokenSet, *, label: str | None = None) -> AccountInfo:
        """Store what a token endpoint answered, in one transaction.

        A missing refresh token and empty scopes keep the stored ones (Google sends a refresh token at the first
        consent only); a kept invalid refresh token stays invalid. Backoff and unknown outcomes end.

        Args:
            account: whose.
            token_set: see `TokenSet.from_response`.
            label: a text for people, such as an e-mail address; None keeps the stored one.
        """
        return await self._services.accounts.store_set(
            read.as_account(account), read.as_token_set(token_set), label=as_label(label), actor=self._actor
        )

    @scrubbed_async
    async def get_account(self, account: Account) -> AccountInfo | None:
        """Return what is known of an account, or None where nothing is stored for it."""
        return await self._services.accounts.get(read.as_account(account))

    @scrubbed_async
    async def delete_account(self, account: Account, *, revoke: bool = False) -> AccountDeletion:
        """Delete all tokens of an account and its refresh state, in one transaction.

        Args:
            account: which.
            revoke: first ask the provider to revoke (RFC 7009), within the refresh deadline; the tokens are deleted
                whatever it answers.
        """
        return await self._services.accounts.delete(
            read.as_account(account), revoke=read.as_flag(revoke, "revoke"), actor=self._actor
        )

    # Access tokens that are valid: refreshed exactly once across processes

    @scrubbed_async
    async def ensure_access_token(self, account: Account, *, timeout: timedelta | float | None = None) -> Token:
        """Return an access token that may be used now, refreshed where it is due.

        Args:
            account: whose.
            timeout: how long this caller waits, as a timedelta or in seconds; the refresh itself goes on. None: until
                it has ended, one way or the other.

        Raises:
            TokenNotFoundError: nothing is stored for the account.
            ReauthorizationRequiredError: invalid or expired, and nothing to refresh with.
            ProviderConfigurationError: no refresher is configured, or the provider refuses this client.
            RefreshFailedError: not now; see its ``retry_after``.
            RefreshNotPersistedError: the provider answered, and the answer could not be written anywhere yet.
            DecryptionError: a stored value does not open in its place.
        """
        seconds = read.as_seconds(timeout, "timeout")
        return await self._services.refreshing.ensure(read.as_account(account), seconds, actor=self._actor)

    @scrubbed_async
    async def refresh_account(self, account: Account) -> Token:
        """Refresh now, even if the token is not due; backoff and unknown outcomes do not hold it back.

        Raises:
            ReauthorizationRequiredError, RefreshFailedError and the others of `ensure_access_token`.
        """
        return await self._services.refreshing.refresh(read.as_account(account), actor=self._actor)

    @scrubbed_async
    async def report_rejected(self, token: Token) -> Token:
        """Say that a resource answered 401 to this token; return one to try instead.

        At most one refresh per generation: a newer token, or one younger than 30 seconds, is returned as it is.
        Where nothing can be refreshed, the token is marked invalid.

        Raises:
            ReauthorizationRequiredError, RefreshFailedError and the others of `ensure_access_token`.
        """
        return await self._services.refreshing.rejected(read.as_access_info(token), actor=self._actor)

    @scrubbed_async
    async def refresh_due(
        self, *, limit: int | None = None, should_stop: Callable[[], bool] | None = None
    ) -> SweepReport:
        """Refresh the accounts that are due: one sweep. Any number of processes may do so at once.

        Args:
            limit: at most so many accounts; None: all that are due.
            should_stop: asked now and then; once it says True, the sweep ends with what is under way.
        """
        most, stop = None if limit is None else read.as_limit(limit), read.as_function(should_stop, "should_stop")
        return await self._services.sweeping.sweep(most, stop, actor=self._actor)

    # Lists, by pages or walked through; nothing is decrypted for them

    @scrubbed_async
    async def find_expiring_tokens(
        self, within: timedelta, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return valid access tokens that expire within ``within``, those already expired included, soonest first.

        Nothing is decrypted. A token without expiry is never among them.
        """
        return await self._services.listing.expiring(
            as_duration(within, "within"),
            provider=read.as_optional_provider(provider),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def list_tokens(
        self, tenant_id: str, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return a tenant's tokens by provider, kind and identifier; nothing is decrypted."""
        return await self._services.listing.tokens(
            as_tenant_id(tenant_id),
            provider=read.as_optional_provider(provider),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def list_accounts(
        self,
        tenant_id: str,
        *,
        provider: str | None = None,
        state: ConnectionState | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page[AccountInfo]:
        """Return a tenant's accounts by provider and identifier, all or those of one state."""
        return await self._services.listing.accounts(
            as_tenant_id(tenant_id),
            provider=read.as_optional_provider(provider),
            state=read.as_optional_state(state),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def audit_events(
        self, *, tenant_id: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[AuditEvent]:
        """Return what happened, in the order of commits; a page ends before the oldest running transaction.

        Args:
            tenant_id: one tenant's events; None for all.
            limit: 1 to 10,000.
            after: a page's ``next`` or an event's ``cursor``.
        """
        tenant = None if tenant_id is None else as_tenant_id(tenant_id)
        return await self._services.listing.events(tenant, limit=read.as_limit(limit), after=after)

    def iter_tokens(self, tenant_id: str, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Walk all pages of `list_tokens`."""
        return walk_pages(lambda after: self.list_tokens(tenant_id, provider=provider, after=after))

    def iter_accounts(
        self, tenant_id: str, *, provider: str | None = None, state: ConnectionState | None = None
    ) -> AsyncIterator[AccountInfo]:
        """Walk all pages of `list_accounts`."""
        return walk_pages(lambda after: self.list_accounts(tenant_id, provider=provider, state=state, after=after))

    def iter_expiring_tokens(self, within: timedelta, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Walk all pages of `find_expiring_tokens`."""
        return walk_pages(lambda after: self.find_expiring_tokens(within, provider=provider, after=after))

    def iter_audit_events(self, *, tenant_id: str | None = None) -> AsyncIterator[AuditEvent]:
        """Walk all pages of `audit_events`."""
        return walk_pages(lambda after: self.audit_events(tenant_id=tenant_id, after=after))

    # Tokens of another system

    @scrubbed_async
    async def import_tokens(
        self,
        rows: ImportRows,
        *,
        overwrite: bool = False,
        dry_run: bool = False,
        source: str | None = None,
        progress: Progress | None = None,
    ) -> ImportReport:
        """Store tokens of another system, a thousand at a time; running it again is harmless.

        What is stored under a key stays, and its row counts as skipped: it may have been refreshed since. Of several
        rows for one key the one with the latest `updated_at` goes in; of equal ones, and where one has none, the first.

        Args:
            rows: `ImportedToken`, and an `ImportFailure` for each row that could not be read.
            overwrite: replace what is stored; its id changes and its generation begins at 1.
            dry_run: only count. This alone takes memory, about a hundred bytes a row.
            source: names the rows, such as a file that does not change: after an interruption, a run of the same
                source recognizes the rows of the former one, so that the latest wins even then. ``overwrite``
                has no use for it.
            progress: called with the counts so far after each batch.

        Raises:
            InvalidInputError: a row is neither of the two; batches before it are stored.
        """
        options = ImportOptions(
            read.as_flag(overwrite, "overwrite"), read.as_flag(dry_run, "dry_run"), as_label(source, "source")
        )
        report = read.as_function(progress, "progress")
        return await self._services.importing.run(rows, options, report, actor=self._actor)

    # The vault itself

    @scrubbed_async
    async def health(self, *, tenant_id: str | None = None) -> HealthReport:
        """Return counts by provider and health, failed reads so far, and whether store and master key answer."""
        return await self._services.health.report(None if tenant_id is None else as_tenant_id(tenant_id))

    @scrubbed_async
    async def erase_tenant(self, tenant_id: str) -> ErasureReport:
        """Delete everything of a tenant and destroy its data keys, in one transaction.

        Earlier audit events lose tenant and identifier. A refresh under way is dropped; a store that comes later
        starts afresh. Backups, and other processes' cached keys until their time is over, are not reached.
        """
        return await self._services.erasing.erase(as_tenant_id(tenant_id), actor=self._actor)
