"""`TokenVault`: the public interface of the vault. It checks arguments and calls the use cases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from vault_domain.entities.page import walk_pages
from vault_domain.entities.scrub import scrubbed, scrubbed_async
from vault_domain.entities.secret import as_value
from vault_domain.entities.text import (
    as_duration,
    as_error_code,
    as_label,
    as_provider,
    as_search_text,
    as_tenant_id,
    as_time,
)
from vault_domain.entities.token import Token
from vault_domain.facade import arguments as read

if TYPE_CHECKING:
    from vault_domain.entities.account import Account, AccountDeletion, AccountInfo, ConnectionState, TokenKey
    from vault_domain.entities.api_header import ApiHeader
    from vault_domain.entities.audit import AuditAction, AuditEvent
    from vault_domain.entities.audit_chain import AuditHead, AuditVerification
    from vault_domain.entities.imported import ImportReport
    from vault_domain.entities.key_reports import ErasureReport
    from vault_domain.entities.page import Page
    from vault_domain.entities.reports import HealthReport, Readiness, RestoreReport, RevivalReport, SweepReport
    from vault_domain.entities.secret import Secret
    from vault_domain.entities.text import (
        Scopes,
    )
    from vault_domain.entities.token import MarkOutcome, TokenInfo, UsableToken
    from vault_domain.entities.token_set import TokenSet
    from vault_domain.facade.arguments import StoreItem
    from vault_domain.facade.feed import EventFeed
    from vault_domain.facade.host import HostTransaction
    from vault_domain.facade.keys import VaultKeys
    from vault_domain.facade.measures import VaultMeasures
    from vault_domain.facade.states import VaultStates
    from vault_domain.services.tokens.importing import ImportRows, Progress
    from vault_domain.services.tokens.states import OpenedState
    from vault_domain.services.use_cases import VaultServices

T = TypeVar("T", Token, Token | None)


class TokenVault:
    """Stores, returns and refreshes a service's tokens; `open_vault` opens it.

    A `TokenKey` names its tenant, so it reaches no other tenant's token. Every method may raise `InvalidInputError`
    (nothing was done) and `StorageError`. Methods that encrypt or decrypt a value may also raise `KeyUnavailableError`,
    `ConfigurationError` (the key service refuses permanently) and `DecryptionError` (somebody tampered with the
    tenant's stored data key).
    """

    __slots__ = ("_actor", "_reason", "_services")

    def __init__(self, services: VaultServices, actor: str | None = None, reason: str | None = None) -> None:
        self._services = services
        self._actor = actor
        self._reason = reason

    @scrubbed
    def with_actor(self, actor: str | None, *, reason: str | None = None) -> TokenVault:
        """Return a view of this vault whose audit events carry ``actor``.

        Args:
            actor: 1 to 255 characters, or None.
            reason: why this view reads tokens, as a code ``[a-z0-9_]{1,64}``, for the events of reads.
        """
        why = None if reason is None else read.as_reason(reason)
        return TokenVault(self._services, as_label(actor, "actor"), why)

    def _noted(self, token: T) -> T:
        """Tell the audit log that a caller reads this token; return the token. The event is stored later."""
        if token is not None:
            self._services.auditing.read((token.info,), self._actor, self._reason)
        return token

    @scrubbed
    def on(self, connection: object) -> HostTransaction:
        """Return the calls that store and delete inside the host's own transaction; see `HostTransaction`.

        Args:
            connection: a connection to the vault's own database, inside a transaction: of ``psycopg``, ``aiosqlite`` or
                ``sqlite3``, Django's ``connection``, or a connection or session of SQLAlchemy. It must be asynchronous
                for a `TokenVault`, and blocking for a `SyncVault`.
        """
        from vault_domain.facade.host import HostTransaction, as_connection

        return HostTransaction(
            self._services, as_connection(connection), lambda services: TokenVault(services, self._actor)
        )

    @property
    def keys(self) -> VaultKeys:
        """The keys of this vault: their status and their rotation."""
        from vault_domain.facade.keys import VaultKeys

        return VaultKeys(self._services, self._actor)

    @property
    def states(self) -> VaultStates:
        """The states of authorization requests, sealed under this vault's keys."""
        from vault_domain.facade.states import VaultStates

        return VaultStates(self._services.states)

    @property
    def measures(self) -> VaultMeasures:
        """The counts and the observers of this vault, for metrics and traces."""
        from vault_domain.facade.measures import VaultMeasures

        return VaultMeasures(self._services.measuring)

    # Single tokens

    @scrubbed_async
    async def store_token(
        self,
        key: TokenKey,
        value: Secret | str,
        *,
        expires_at: datetime | None = None,
        scopes: Scopes | None = None,
        expected_generation: int | None = None,
        label: str | None = None,
    ) -> TokenInfo:
        """Store a value under a key, replacing a stored one; the status becomes VALID and the error code is cleared.

        Args:
            key: the key to store the value under.
            value: the plaintext value, 1 byte to 64 KiB of UTF-8.
            expires_at: expiry, zone-aware; None clears the stored expiry. For an access token, however, None means the
                expiry in the value if the value is a JWT, or else the end of the provider's default lifetime if a
                refresh token or an API key of the account is stored. An expiry more than 100 years ahead is stored as
                100 years ahead.
            scopes: the scopes; None clears the stored scopes.
            expected_generation: store only if the value stored now has this generation; 0: only if nothing is stored;
                None: in any case.
            label: a text to show to users and to `find`; None keeps the stored label. Never the value or a part of it,
                because labels are stored in clear.

        Raises:
            GenerationConflictError: another generation is stored.
        """
        secret = as_value(value)
        del value  # tracebacks of later errors must not hold the value
        draft = read.as_draft(key, secret, expires_at, scopes)
        generation, text = read.as_generation(expected_generation), as_label(label)
        infos = await self._services.writing.store(
            [draft], actor=self._actor, expected_generation=generation, label=text
        )
        return infos[0]

    @scrubbed_async
    async def store_tokens(self, items: Iterable[StoreItem]) -> list[TokenInfo]:
        """Store many values in one transaction, all or none.

        Args:
            items: ``(key, value)`` or ``(key, value, expires_at)``; each key at most once, and at most 10,000 items,
                because checking more would hold up the event loop. Split more items into several calls, or use
                `import_tokens`.
        """
        drafts = read.as_drafts(items)
        del items  # tracebacks of later errors must not hold the values
        return await self._services.writing.store(drafts, actor=self._actor)

    @scrubbed_async
    async def get_token(self, key: TokenKey, *, fresh: bool = False) -> Token | None:
        """Return the stored token, regardless of its status, or None. The use is recorded later, in batches.

        Args:
            key: the key of the token.
            fresh: ask the database in any case, so that neither `read_cache` nor `serve_stale` answers.

        Raises:
            DecryptionError: the stored value cannot be decrypted.
        """
        known, anew = read.as_key(key), read.as_flag(fresh, "fresh")
        token = None if anew else self._services.tokens.at_hand(known)
        return self._noted(token or await self._services.tokens.get(known, fresh=anew))

    @scrubbed_async
    async def get_tokens(self, keys: Iterable[TokenKey]) -> dict[TokenKey, Token]:
        """Return the tokens that are stored under these keys; one call takes at most 10,000 keys.

        Raises:
            DecryptionError: at least one value cannot be decrypted; the error's ``keys`` name all such values.
        """
        found = await self._services.tokens.get_many(read.as_keys(keys))
        self._services.auditing.read((token.info for token in found.values()), self._actor, self._reason)
        return found

    @scrubbed_async
    async def get_access_token(
        self, account: Account, *, refresh_buffer: timedelta | None = None, fresh: bool = False
    ) -> UsableToken | None:
        """Return the access token, or None if it is missing, invalid or expired. This never calls a provider.

        Args:
            account: the account of the token.
            refresh_buffer: time before expiry from which ``needs_refresh`` is True. None uses the configured buffer,
                limited to half of the token's lifetime if that is known.
            fresh: see `get_token`.

        Raises:
            DecryptionError: the stored value cannot be decrypted.
        """
        buffer = None if refresh_buffer is None else as_duration(refresh_buffer, "refresh_buffer")
        known, anew = read.as_account(account), read.as_flag(fresh, "fresh")
        usable = await self._services.tokens.get_access(known, buffer, fresh=anew)
        self._noted(None if usable is None else usable.token)
        return usable

    @scrubbed_async
    async def get_refresh_token(self, account: Account) -> Token | None:
        """Return the refresh token, or None if it is missing, invalid or expired.

        Raises:
            DecryptionError: the stored value cannot be decrypted.
        """
        return self._noted(await self._services.tokens.get_refresh(read.as_account(account)))

    @scrubbed_async
    async def mark_token_invalid(self, token: Token | TokenInfo, error_code: str) -> MarkOutcome:
        """Mark exactly this value invalid; return STALE if it was replaced or deleted meanwhile.

        Args:
            token: the token as the vault returned it.
            error_code: a code of RFC 6749 or 6750, or the host's own, ``[a-z0-9_]{1,64}``. Free text is refused,
                because providers echo tokens in it.
        """
        info, code = read.as_token_info(token), as_error_code(error_code)
        return await self._services.writing.mark_invalid(info, code, actor=self._actor)

    @scrubbed_async
    async def delete_token(self, key: TokenKey | Token | TokenInfo) -> bool:
        """Delete one token; return whether it existed.

        Args:
            key: the token's key. Given a token as the vault returned it, exactly this value is deleted, and nothing if
                it was replaced meanwhile.
        """
        return await self._services.writing.delete(read.as_key_or_info(key), actor=self._actor)

    @scrubbed_async
    async def delete_provider_tokens(self, tenant_id: str, provider: str) -> int:
        """Delete all of a tenant's tokens at a provider, account by account; return the number of deleted tokens.

        If this fails, some accounts may be deleted. Repeat the call to delete the rest. An account with a row that
        cannot be told from another account's raises `DecryptionError` after all others are deleted.
        """
        tenant, name = as_tenant_id(tenant_id), as_provider(provider)
        return await self._services.writing.delete_provider(tenant, name, actor=self._actor)

    # Accounts

    @scrubbed_async
    async def store_token_set(
        self, account: Account, token_set: TokenSet, *, label: str | None = None, state: OpenedState | None = None
    ) -> AccountInfo:
        """Store the tokens of a token endpoint's answer in one transaction.

        If the refresh token is missing, the stored one is kept with its status, because Google sends a refresh token at
        the first consent only. Empty scopes keep the stored ones. Backoff and unknown outcomes are cleared.

        Args:
            account: the account of the tokens.
            token_set: the tokens; see `TokenSet.from_response`.
            label: a text to show to users, such as an e-mail address; None keeps the stored label.
            state: what `VaultStates.open` returned for the request whose answer this is. The tokens are then stored
                only if the tenant was not erased since that request began.

        Raises:
            InvalidInputError: the provider's profile refuses an extra member, because it would decide where secrets go
                (code ``variable_refused``).
            StateRefusedError: the data key of ``state`` was destroyed; nothing was stored.
        """
        owner, begun = read.as_account(account), read.as_state_of(account, state)
        tokens, text = read.as_token_set(token_set), as_label(label)
        await self._services.hosts.check(owner, tokens.extra)
        return await self._services.accounts.store_set(owner, tokens, label=text, actor=self._actor, state=begun)

    @scrubbed_async
    async def get_account(self, account: Account) -> AccountInfo | None:
        """Return an account's connection state and metadata, or None if nothing is stored for it.

        While the tenant's own master key cannot be used and no data key of the tenant is held any more, the state is
        RETRYING, and the reason ``key_denied`` or ``tenant_key_unavailable``.
        """
        return await self._services.accounts.get(read.as_account(account))

    @scrubbed_async
    async def delete_account(self, account: Account, *, revoke: bool = False) -> AccountDeletion:
        """Delete all tokens of an account and its refresh state, in one transaction.

        Args:
            account: the account to delete.
            revoke: first ask the provider to revoke the refresh token, or else the access token (RFC 7009), within the
                refresh deadline. The tokens are deleted even if the provider does not confirm. A provider such as
                Google ends all grants of the user for this client when one token is revoked. So such a provider is not
                asked while another tenant has an account with the same provider and identifier
                (`AccountDeletion.reason` is then ``shared_grant``).
        """
        return await self._services.accounts.delete(
            read.as_account(account), revoke=read.as_flag(revoke, "revoke"), actor=self._actor
        )

    # Valid access tokens, refreshed exactly once across processes

    @scrubbed_async
    async def ensure_access_token(
        self, account: Account, *, timeout: timedelta | float | None = None, fresh: bool = False
    ) -> Token:
        """Return an access token that may be used now; refresh it first if it is due.

        If the provider's API keys do not expire (Stripe), the result is the account's API key, if there is one.

        Args:
            account: the account of the token.
            timeout: longest time that this caller waits, as a timedelta or in seconds; a running refresh goes on.
                None: until the refresh has ended. With or without a timeout, if the stored token is still valid, the
                caller waits at most one second for a new one, and then gets the stored one. This limit does not apply
                at a provider that ends the old token when it issues a new one.
            fresh: see `get_token`.

        Raises:
            TokenNotFoundError: nothing is stored for the account.
            ReauthorizationRequiredError: the token is invalid or expired, and no valid credential can refresh it.
            ProviderConfigurationError: no refresher is configured, or the provider refuses this client or its request,
                or refreshes at the provider are paused.
            RefreshFailedError: the refresh failed this time; see its ``retry_after``.
            RefreshNotPersistedError: the provider answered, but the answer could not be stored yet.
            DecryptionError: a stored value cannot be decrypted.
        """
        seconds = read.as_seconds(timeout, "timeout")
        known, anew = read.as_account(account), read.as_flag(fresh, "fresh")
        token = None if anew else self._services.refreshing.at_hand(known)
        if token is None and self._services.api_keys.serves(known):
            token = await self._services.api_keys.find(known, seconds, fresh=anew)
        return self._noted(
            token or await self._services.rejections.ensure(known, seconds, actor=self._actor, fresh=anew)
        )

    @scrubbed_async
    async def refresh_account(self, account: Account) -> Token:
        """Refresh now, even if the token is not due, and despite backoff and unknown outcomes.

        Each call sends a request to the provider, unless it joins a running attempt of this account, or a request limit
        or a pause of the client forbids the request.

        Raises:
            ReauthorizationRequiredError, RefreshFailedError and the other errors of `ensure_access_token`.
        """
        return self._noted(await self._services.refreshing.refresh(read.as_account(account), actor=self._actor))

    @scrubbed_async
    async def report_rejected(self, token: Token) -> Token:
        """Report that a resource answered 401 to this token; return the token to try next.

        - If another token is stored by now, return that token, so that a rejected generation is refreshed at most once.
          If that token is an access token, first refresh it if it is due, as `ensure_access_token` does. If it is an
          API key that is invalid or has expired, raise `ReauthorizationRequiredError`.
        - If the token can still be used, and its `updated_at` is less than 30 seconds ago, return it again without a
          refresh. However, if it is an access token, and its provider ends the old access token at each refresh, return
          what `ensure_access_token` returns, because a running refresh may have ended the token.
        - If the account can be refreshed, mark the access token invalid, so that no process hands it out again, refresh
          the account and return the new token. If the refresh fails, the token stays invalid. A token that is its own
          credential is refreshed without being marked invalid.
        - If the credential is invalid, mark the access token invalid and raise `ReauthorizationRequiredError`.
        - Otherwise, for example if the token is an API key, the first report makes the token suspect, and the call
          returns the token again, because one 401 may be a resource's mistake. A second report that comes at least 30
          seconds and at most 10 minutes later (`Tuning.rejection_confirm_after` and ``rejection_confirm_within``)
          makes the token invalid and raises `ReauthorizationRequiredError`.

        Args:
            token: the access token or API key as the vault returned it.

        Raises:
            ReauthorizationRequiredError, RefreshFailedError and the other errors of `ensure_access_token`.
        """
        return self._noted(await self._services.rejections.report(read.as_presented_info(token), actor=self._actor))

    @scrubbed_async
    async def api_hosts(self, token: Token) -> tuple[str, ...]:
        """Return the hosts to which an access token may be sent, as its provider's refresher names them.

        Each is a name such as ``api.example.com``; ``*.example.com`` stands for all hosts below ``example.com``, and
        ``api.example.com:8443`` for a port other than 443. The refresher of a profile names the profile's hosts. The
        result is empty if the refresher names no hosts, or if its function ``account_variables`` fails or takes more
        than ten seconds.

        Args:
            token: the access token as the vault returned it; its extra members may name the hosts of its account.

        Raises:
            ConfigurationError: the profile names hosts by variables or extra members that this account lacks (code
                ``hosts_unknown``).
        """
        return await self._services.hosts.of(read.as_token(token))

    @scrubbed_async
    async def api_header(self, token: Token) -> ApiHeader:
        """Return the header in which API requests carry a token, as its provider's refresher names it.

        Args:
            token: the token as the vault returned it.
        """
        return self._services.hosts.header_of(read.as_token(token))

    @scrubbed_async
    async def api_proof(
        self,
        token: Token,
        method: str,
        url: str,
        *,
        nonce: str | None = None,
        ahead: timedelta = timedelta(0),
    ) -> str | None:
        """Return the value of the header ``DPoP`` for one API request with a token (RFC 9449 section 7.1).

        None: the token is not bound to a key, so its request carries no such header. Each request needs a proof of its
        own. `VaultAuth` calls this method; call it only if you send requests in another way.

        Args:
            token: the token as the vault returned it.
            method: the request's method, such as ``GET``.
            url: the request's URL.
            nonce: the server's last header ``DPoP-Nonce``, or None.
            ahead: by how much this machine's clock is ahead of the server's.

        Raises:
            InvalidInputError: an argument is not valid.
        """
        found, (htm, htu) = read.as_token(token), read.as_request_line(method, url)
        return self._services.hosts.proof_for(found, htm, htu, read.as_nonce(nonce), ahead)

    @scrubbed_async
    async def refresh_due(
        self, *, limit: int | None = None, should_stop: Callable[[], bool] | None = None
    ) -> SweepReport:
        """Run one sweep: refresh the accounts that are due. Any number of processes may do so at once.

        Args:
            limit: largest number of accounts to refresh; None: all that are due.
            should_stop: called repeatedly; after it returns True, the sweep finishes the accounts that it has already
                taken, at most 20 of each provider, and ends.
        """
        most, stop = None if limit is None else read.as_limit(limit), read.as_function(should_stop, "should_stop")
        report = await self._services.sweeping.sweep(most, stop, actor=self._actor)
        chain = self._services.chain
        await chain.seal_after_sweep()
        await self._services.auditing.prune_after_sweep(actor=self._actor, announce=chain.announce)
        return report

    # Lists, by page or as iterators; they decrypt nothing

    @scrubbed_async
    async def find_expiring_tokens(
        self, within: timedelta, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return access tokens of status VALID that expire within ``within`` or have expired, earliest expiry first.

        Nothing is decrypted. Tokens without expiry are left out.
        """
        time, name, most = as_duration(within, "within"), read.as_optional_provider(provider), read.as_limit(limit)
        return await self._services.listing.expiring(time, provider=name, limit=most, after=after)

    @scrubbed_async
    async def list_tokens(
        self, tenant_id: str, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return a tenant's tokens without their values, sorted by provider, identifier and kind."""
        tenant, name, most = as_tenant_id(tenant_id), read.as_optional_provider(provider), read.as_limit(limit)
        return await self._services.listing.tokens(tenant, provider=name, limit=most, after=after)

    @scrubbed_async
    async def list_tenants(self, *, limit: int = 1000, after: str | None = None) -> Page[str]:
        """Return the ids of the tenants that have tokens, sorted."""
        return await self._services.listing.tenants(limit=read.as_limit(limit), after=after)

    @scrubbed_async
    async def list_accounts(
        self,
        tenant_id: str | None = None,
        *,
        provider: str | None = None,
        state: ConnectionState | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page[AccountInfo]:
        """Return accounts (all, or those of one state), sorted by tenant, provider and identifier.

        Args:
            tenant_id: the tenant whose accounts are returned; None: all tenants.
            provider: only accounts at this provider.
            state: only accounts in this state. For all tenants, RETRYING leaves out accounts that are retrying only
                because their tenant's own master key cannot be used.
            limit: largest number of accounts, 1 to 10,000.
            after: the ``next`` of a page of the same list.
        """
        name, wanted, most = read.as_optional_provider(provider), read.as_optional_state(state), read.as_limit(limit)
        listing = self._services.listing
        if tenant_id is None:
            return await listing.all_accounts(provider=name, state=wanted, limit=most, after=after)
        tenant = as_tenant_id(tenant_id)
        return await listing.accounts(tenant, provider=name, state=wanted, limit=most, after=after)

    @scrubbed_async
    async def find(self, text: str, *, limit: int = 100, after: str | None = None) -> Page[AccountInfo]:
        """Return the accounts of all tenants that a text names, sorted by tenant, provider and identifier.

        A text names an account if the account's label or identifier begins with it, or if it is the whole name of the
        account's provider. The letters A to Z count as a to z, and every other character, such as ``%``, as itself.

        Args:
            text: 2 to 255 characters; white space around it is ignored.
            limit: largest number of accounts, 1 to 10,000.
            after: the ``next`` of a page of the same search.
        """
        return await self._services.listing.find(as_search_text(text), limit=read.as_limit(limit), after=after)

    @scrubbed_async
    async def audit_events(
        self, *, tenant_id: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[AuditEvent]:
        """Return audit events in an order that never changes: each key's events in the order of its generations.

        Events of different keys come in the order of their commits, except for transactions that ran at the same time.

        A page ends before the events of the oldest transaction that may still add events, so that a caller who follows
        the cursors misses no event. On Postgres, this transaction may be any running write transaction in the vault's
        database, including the host's own.

        Args:
            tenant_id: the tenant whose events are returned; None: all tenants.
            limit: largest number of events, 1 to 10,000.
            after: the ``next`` of a page or the ``cursor`` of an event, from a call with the same ``tenant_id``; None:
                from the beginning.
        """
        tenant = None if tenant_id is None else as_tenant_id(tenant_id)
        return await self._services.listing.events(tenant, limit=read.as_limit(limit), after=after)

    def iter_tokens(self, tenant_id: str, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Iterate over all pages of `list_tokens`."""
        return walk_pages(lambda after: self.list_tokens(tenant_id, provider=provider, after=after))

    def iter_tenants(self) -> AsyncIterator[str]:
        """Iterate over all pages of `list_tenants`."""
        return walk_pages(lambda after: self.list_tenants(after=after))

    def iter_accounts(
        self, tenant_id: str | None = None, *, provider: str | None = None, state: ConnectionState | None = None
    ) -> AsyncIterator[AccountInfo]:
        """Iterate over all pages of `list_accounts`."""
        return walk_pages(lambda after: self.list_accounts(tenant_id, provider=provider, state=state, after=after))

    def iter_expiring_tokens(self, within: timedelta, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Iterate over all pages of `find_expiring_tokens`."""
        return walk_pages(lambda after: self.find_expiring_tokens(within, provider=provider, after=after))

    def iter_audit_events(self, *, tenant_id: str | None = None) -> AsyncIterator[AuditEvent]:
        """Iterate over all pages of `audit_events`."""
        return walk_pages(lambda after: self.audit_events(tenant_id=tenant_id, after=after))

    # Tokens that come from another system, or leave

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
        """Store tokens of another system, in batches of a thousand.

        Without ``overwrite``, a repeated import is harmless: a row is skipped if a token is stored under its key,
        because the stored token may have been refreshed since. If several rows have the same key, the row with the
        latest `updated_at` is stored; if times are equal or missing, the first row.

        Args:
            rows: an `ImportedToken` for each row, or an `ImportFailure` for a row that could not be read.
            overwrite: replace stored tokens. The new token gets a new id, and its generation begins at 1.
            dry_run: only count. A dry run needs about a hundred bytes of memory per row.
            source: a name for the imported data, such as the name of its file. After an interruption, a run with the
                same name recognizes the rows of the earlier run, so that the latest row still wins. With
                ``overwrite``, the name has no effect.
            progress: called with the counts so far after each batch.

        Raises:
            InvalidInputError: a row has neither of the types above; the batches before that row are stored.
        """
        from vault_domain.services.tokens.importing import ImportOptions

        options = ImportOptions(
            read.as_flag(overwrite, "overwrite"), read.as_flag(dry_run, "dry_run"), as_label(source, "source")
        )
        report = read.as_function(progress, "progress")
        return await self._services.importing.run(rows, options, report, actor=self._actor)

    @scrubbed_async
    async def export_tokens(
        self, tenant_id: str, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[Token | TokenInfo]:
        """Return a tenant's tokens with their values, to leave this vault, sorted by provider, identifier and kind.

        The event ``tokens_exported`` is stored before a page is read; if it cannot be stored, no value is returned.
        The values come from the database, and no use of a token is recorded. A token whose value cannot be decrypted
        comes as its `TokenInfo`.

        Args:
            tenant_id: the tenant.
            provider: only tokens of this provider.
            limit: largest number of tokens, 1 to 10,000.
            after: the ``next`` of a page of the same list.
        """
        tenant, name, most = as_tenant_id(tenant_id), read.as_optional_provider(provider), read.as_limit(limit)
        return await self._services.exporting.page(
            tenant, provider=name, limit=most, after=after, actor=self._actor, reason=self._reason
        )

    @scrubbed_async
    async def find_unreadable_tokens(self, keys: Iterable[TokenKey]) -> list[TokenKey]:
        """Decrypt what is stored under these keys, and return the keys of the values that do not decrypt.

        No value leaves the vault, and no use is recorded. Each value that does not decrypt leaves the event
        ``decryption_failed``, as when it is read.

        Args:
            keys: see `get_tokens`.

        Raises:
            KeyUnavailableError: a master key cannot be used now.
        """
        return await self._services.exporting.unreadable(read.as_keys(keys))

    def iter_exported_tokens(self, tenant_id: str, *, provider: str | None = None) -> AsyncIterator[Token | TokenInfo]:
        """Iterate over all pages of `export_tokens`."""
        return walk_pages(lambda after: self.export_tokens(tenant_id, provider=provider, after=after))

    # Recovery from an incident

    @scrubbed_async
    async def revive_accounts(
        self,
        *,
        provider: str,
        since: datetime,
        until: datetime | None = None,
        tenant_id: str | None = None,
        dry_run: bool = False,
        progress: Callable[[RevivalReport], object] | None = None,
    ) -> RevivalReport:
        """Revive credentials that were condemned by mistake: make these credentials valid again.

        Sweeps refresh ten revived accounts per second. `ensure_access_token` does not wait for a sweep. A credential
        that a host marked invalid stays invalid, and so does an expired credential. Each transaction revives at most
        500 credentials, and a repeated call is harmless.

        Args:
            provider: the provider whose accounts are revived.
            since: the earliest time of the condemnation, zone-aware.
            until: the latest time of the condemnation, zone-aware; None: now.
            tenant_id: only this tenant's accounts; None: all tenants.
            dry_run: only count.
            progress: called with the counts so far after each transaction.
        """
        condemned = read.as_condemned(provider, since, until, tenant_id)
        return await self._services.reviving.revive(
            condemned,
            dry_run=read.as_flag(dry_run, "dry_run"),
            progress=read.as_function(progress, "progress"),
            actor=self._actor,
        )

    @scrubbed_async
    async def restored(self, *, since: datetime | None = None) -> RestoreReport:
        """Tell the vault that a backup was restored, so that its database is older than the providers.

        The vault then believes the rejection of each token that was stored before ``since``, however many are rejected.
        Accounts that answer stay connected. If the vault has refreshers, the accounts that are due are refreshed first;
        so repeat the call later, when others have been due. `revive_accounts` undoes a call that was a mistake.
        ``since`` is the time at which the restored database went into use, zone-aware; None: now.
        """
        return await self._services.restoring.restored(as_time(since, "since"), actor=self._actor)

    # The audit log

    @scrubbed_async
    async def latest_audit_events(
        self,
        *,
        tenant_id: str | None = None,
        account: Account | None = None,
        action: AuditAction | None = None,
        since: datetime | None = None,
        limit: int = 1000,
    ) -> Page[AuditEvent]:
        """Return the latest audit events, the latest at the end; `audit_events` continues after the page's ``next``.

        ``next`` is the end of the log at this moment, whatever was selected.

        Args:
            tenant_id: see `audit_events`.
            account: only events of this account.
            action: only events with this action.
            since: only events that occurred at this time or later, zone-aware.
            limit: largest number of events, 1 to 10,000.
        """
        tenant = None if tenant_id is None else as_tenant_id(tenant_id)
        sought = read.as_sought(account, action, since)
        return await self._services.listing.latest_events(tenant, sought, limit=read.as_limit(limit))

    @scrubbed
    def event_feed(
        self,
        *,
        tenant_id: str | None = None,
        after: str | None = None,
        limit: int = 1000,
        interval: timedelta = timedelta(seconds=1),
    ) -> EventFeed:
        """Return a feed that gives the audit events page by page, and waits for the next ones; see `EventFeed`.

        Args:
            tenant_id: see `audit_events`.
            after: the ``cursor`` of the last event that the host has handled; None: from the beginning.
            limit: largest number of events on a page, 1 to 10,000.
            interval: longest time between two reads of the log; a notification leads to an earlier read.
        """
        from vault_domain.facade.feed import EventFeed

        tenant, most = None if tenant_id is None else as_tenant_id(tenant_id), read.as_limit(limit)
        pause = as_duration(interval, "interval", positive=True)
        listing = self._services.listing
        return EventFeed(
            lambda place: listing.events(tenant, limit=most, after=place),
            self._services.waker,
            after=after,
            interval=pause,
        )

    @scrubbed_async
    async def prune_audit(self, *, older_than: timedelta) -> int:
        """Delete the audit events that are older than ``older_than``; return their number.

        Events that confirm the state of a data key or master key, and those of erasures and prunings, stay. If any
        event was deleted, the event ``audit_pruned`` is appended. On Postgres, if all events of a month are older, the
        month's partition is dropped, and the events that stay move to the default partition.

        Args:
            older_than: one day at least.
        """
        announce = self._services.chain.announce
        return await self._services.auditing.prune(read.as_age(older_than), actor=self._actor, announce=announce)

    @scrubbed_async
    async def audit_head(self, *, tenant_id: str | None = None) -> AuditHead:
        """Return the head of the audit log's chain, after sealing all events; the first call begins the chain.

        Keep heads where nobody who can write to the database can change them: `verify_audit` finds each change of the
        log behind a head. A head is small and names no tenant. Sweeps seal new events once a minute.

        Args:
            tenant_id: the tenant whose chain's head is returned; None: the head of all chains together.

        Raises:
            TokenNotFoundError: there is no event of the tenant.
            StorageError: somebody has changed the rows of the chain (reason ``chain_changed``).
        """
        tenant = None if tenant_id is None else as_tenant_id(tenant_id)
        return await self._services.chain.head(tenant)

    @scrubbed_async
    async def verify_audit(self, heads: Iterable[AuditHead] = ()) -> AuditVerification:
        """Compare the audit log with its chain, and the chain with heads that were kept elsewhere.

        This reads the whole log and the metadata of all tokens, and takes a few minutes for a million events. What a
        pruning of the vault deleted and what an erasure took out of events is no finding.

        Args:
            heads: what `audit_head` returned earlier.
        """
        return await self._services.verifying.verify(read.as_heads(heads))

    # The vault itself

    @scrubbed_async
    async def health(self, *, tenant_id: str | None = None) -> HealthReport:
        """Return token counts by provider and health, failed reads so far, and errors of store and master key.

        An outage raises no error. While the database does not answer, this method returns within two seconds, without
        counts.
        """
        return await self._services.health.report(None if tenant_id is None else as_tenant_id(tenant_id))

    @scrubbed_async
    async def ready(self, *, timeout: timedelta | float = 1.0) -> Readiness:
        """Return whether the database, its schema and the master key can be used now, for a readiness probe.

        On Postgres, the database is also asked whether it takes writes. Unlike `health`, this method counts no tokens.
        An outage raises no error.

        Args:
            timeout: longest time for the answer, as a timedelta or in seconds; a check that takes longer fails with the
                cause ``timeout``.
        """
        seconds = read.as_seconds(timeout, "timeout")
        return await self._services.readiness.check(1.0 if seconds is None else seconds)

    @scrubbed_async
    async def adopt(self) -> bool:
        """Say that the database's home is here now; return whether it was somewhere else before.

        A vault whose database was copied or has moved reads, but does not refresh (`RefreshFailedError` with the reason
        ``not_home``), because the copy would use up the original's refresh tokens. Call this method only if no vault
        uses the original any more. Other open vaults of this database refresh again too. The event ``vault_adopted`` is
        written.
        """
        return await self._services.homes.adopt(actor=self._actor)

    @scrubbed_async
    async def erase_tenant(self, tenant_id: str, *, wait: bool = False) -> ErasureReport:
        """Delete everything of a tenant and destroy its data keys, in one transaction.

        Args:
            tenant_id: the tenant.
            wait: True: return only when no process can return a remembered value of the tenant, even one that is cut
                off from the database: after `serve_stale` and `storage_timeout`, which must not be longer elsewhere.

        - Earlier audit events lose tenant and identifier.
        - The answer of a running refresh is dropped.
        - Tokens may be stored for the tenant again, under a new data key.
        - The erasure does not reach backups. Other processes keep the tenant's cached keys until these expire.
        """
        tenant, settled = as_tenant_id(tenant_id), read.as_flag(wait, "wait")
        return await self._services.erasing.erase(tenant, actor=self._actor, wait=settled)
