"""Small vaults with the methods that clients use: some refresh at an OAuth server, some return listed tokens."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from vault_adapters.providers import OAuth2Refresher
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.errors import ReauthorizationRequiredError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import Token, TokenInfo, TokenStatus
from vault_domain.ports.token_refresher import RefreshRequest

ACCOUNT = Account("tenant", "acme", "ann@example.com")

LOOPBACK = ["127.0.0.1", "localhost"]
"""The hosts of the tests' servers."""


def token_of(text, *, lifetime=timedelta(hours=1), generation=1, token_type="Bearer"):
    now = datetime.now(UTC)
    info = TokenInfo(
        id=uuid4(),
        key=ACCOUNT.key(TokenKind.ACCESS_TOKEN),
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=now + lifetime if lifetime is not None else None,
        scopes=(),
        generation=generation,
        last_used_at=None,
        last_refreshed_at=None,
        lifetime=lifetime,
        created_at=now,
        updated_at=now,
    )
    return Token(info, Secret(text), token_type=token_type)


class SmallVault:
    """Refreshes at an OAuth server when a token is reported."""

    def __init__(self, server, pair):
        self._refresher = OAuth2Refresher(server.token_url, server.client_id, server.client_secret)
        self._credential = Secret(pair.refresh_token)
        self.held = token_of(pair.access_token)
        self.reported = []

    async def ensure_access_token(self, account):
        assert account == ACCOUNT
        return self.held

    async def api_header(self, token):
        return ApiHeader()

    async def report_rejected(self, token):
        self.reported.append(token)
        if token.info.generation == self.held.info.generation:
            request = RefreshRequest(ACCOUNT, self._credential, TokenKind.REFRESH_TOKEN, (), timedelta(seconds=10))
            tokens = await self._refresher.refresh(request)
            self._credential = tokens.refresh_token
            self.held = token_of(tokens.access_token.reveal(), generation=token.info.generation + 1)
        return self.held


class SmallSyncVault:
    """A `SmallVault` whose methods need no await."""

    def __init__(self, server, pair):
        self._vault = SmallVault(server, pair)

    @property
    def held(self):
        return self._vault.held

    @property
    def reported(self):
        return self._vault.reported

    def ensure_access_token(self, account):
        return asyncio.run(self._vault.ensure_access_token(account))

    def api_header(self, token):
        return ApiHeader()

    def report_rejected(self, token):
        return asyncio.run(self._vault.report_rejected(token))


class ListedVault:
    """Returns the first of the listed tokens. A report moves on to the next one; a report of the last one raises."""

    def __init__(self, *texts, lifetime=timedelta(hours=1), hosts=(), token_type="Bearer", header=None):
        self._header = header or ApiHeader()
        self._texts = list(texts)
        self._lifetime = lifetime
        self._hosts = hosts
        self._type = token_type
        self.asked = 0
        self.after_report = hosts
        self.reported = []

    def ensure_access_token(self, account):
        self.asked += 1
        return token_of(self._texts[0], lifetime=self._lifetime, token_type=self._type)

    def api_hosts(self, token):
        return self._hosts

    def api_header(self, token):
        return self._header

    def report_rejected(self, token):
        self.reported.append(token.value.reveal())
        if len(self._texts) == 1:
            raise ReauthorizationRequiredError(account=ACCOUNT)
        self._texts.pop(0)
        self._hosts = self.after_report
        return self.ensure_access_token(ACCOUNT)


class AsyncListedVault:
    """A `ListedVault` whose methods are coroutines."""

    def __init__(self, *texts, **options):
        self.blocking = self._vault = ListedVault(*texts, **options)
        self.reported = self._vault.reported

    @property
    def asked(self):
        return self._vault.asked

    @property
    def after_report(self):
        return self._vault.after_report

    @after_report.setter
    def after_report(self, hosts):
        self._vault.after_report = hosts

    async def api_hosts(self, token):
        return self._vault.api_hosts(token)

    async def api_header(self, token):
        return self._vault.api_header(token)

    async def ensure_access_token(self, account):
        return self._vault.ensure_access_token(account)

    async def report_rejected(self, token):
        return self._vault.report_rejected(token)
