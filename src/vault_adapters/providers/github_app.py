"""`GitHubAppRefresher`: installation access tokens of a GitHub App."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from vault_adapters.providers.answers import Members, json_object, read_answer
from vault_adapters.providers.assertions import Signed, by_the_clock, timely
from vault_adapters.providers.client_auth import as_signing_key
from vault_adapters.providers.endpoint import as_client_id, as_endpoint, shown
from vault_adapters.providers.expiry import retry_after, until_reset
from vault_adapters.providers.fields import credential_fields
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.signing_key import SigningKey
from vault_domain.entities import causes
from vault_domain.entities.account import Account
from vault_domain.entities.errors import (
    InvalidInputError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

GITHUB_API_URL = "https://api.github.com"

_BEFORE_SECONDS, _LIFETIME_SECONDS = 60, 540
_INSTALLATION = re.compile(r"[0-9]{1,20}\Z")
_GONE = frozenset({404, 410})
"""HTTP statuses of an installation that GitHub does not find: it was removed, or the App or `api_url` is wrong."""


def _as_api_url(value: str) -> str:
    return as_endpoint(value, "api_url").rstrip("/")


@scrubbed_class
@frozen(eq=False)
class GitHubAppRefresher(KeyRefresher):
    """Asks GitHub for an installation's access token. The token lasts an hour.

    Store the installation as ``Secret.from_fields(installation_id="123")``, of the kind API key. The optional fields
    ``repositories`` (names, separated by spaces) and ``permissions`` (such as ``"contents:read issues:write"``)
    restrict the token.

    GitHub answers 404 or 410 if the installation was removed, but a wrong ``api_url`` may give the same answer. So this
    answer condemns an account only if the App itself (``GET /app``) is found at the same URL.

    GitHub documents the request under "Generating an installation access token for a GitHub App". The JWT's ``iat``
    lies a minute in the past, as GitHub advises, because clocks differ. Its ``exp`` lies nine minutes ahead, because
    GitHub accepts at most ten.

    Args:
        app_id: the App's client id or App id; it becomes the ``iss`` of the JWT.
        signing_key: the App's private key, with the algorithm RS256.
        api_url: the URL of the API; for a GitHub Enterprise Server, ``https://HOST/api/v3``.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    app_id: str = field(converter=as_client_id)
    signing_key: SigningKey = field(converter=as_signing_key)
    api_url: str = field(default=GITHUB_API_URL, converter=_as_api_url, kw_only=True, repr=shown)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.signing_key is None or self.signing_key.algorithm != "RS256":
            raise InvalidInputError("signing_key must be a SigningKey with the algorithm RS256")

    def client_id_of(self, account: Account | None) -> str | None:
        """Return the App's id, which all accounts share; see `ClientNamer`."""
        return self.app_id

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        fields = credential_fields(request.credential, "installation_id", optional=("repositories", "permissions"))
        if isinstance(fields, VaultError):
            return fields
        if not _INSTALLATION.match(fields["installation_id"]):
            return ReauthorizationRequiredError("installation_id must be a number", reason="invalid_request")
        now = int(time.time())
        claims = {"iss": self.app_id, "iat": now - _BEFORE_SECONDS, "exp": now + _LIFETIME_SECONDS}
        signed = await timely(self.signing_key, claims, request.deadline, request.send_deadline)
        if not isinstance(signed, Signed):
            return signed
        outgoing = self._outgoing(fields, signed.jwt)
        clock = asyncio.get_running_loop().time
        began = clock()
        answer = await exchange(self.client, outgoing, signed.deadline, signed.send_deadline)
        if not isinstance(answer, Incoming):
            return answer
        if answer.status in _GONE:
            return await self._gone(signed.jwt, signed.deadline - timedelta(seconds=clock() - began))
        return by_the_clock(_read(answer), answer, request.account.provider)

    async def _gone(self, jwt: str, time_left: timedelta) -> VaultError:
        """Return the error for an installation that is not found. Its account is condemned only if the App is found."""
        if time_left <= timedelta(0):
            return RefreshFailedError("no time was left to look for the App", reason=causes.TIMEOUT)
        outgoing = Outgoing(f"{self.api_url}/app", b"", _headers(jwt), method="GET")
        answer = await exchange(self.client, outgoing, time_left)
        if isinstance(answer, RefreshFailedError):  # leave out `outcome_unknown`: this request spends nothing
            return RefreshFailedError("GitHub could not be asked for the App", reason=answer.reason)
        if not isinstance(answer, Incoming):
            return answer
        if answer.status == 200 and "id" in (json_object(answer.body) or {}):
            return ReauthorizationRequiredError(reason="invalid_grant")
        if answer.status == 401:
            return ProviderConfigurationError(reason="invalid_client")
        if answer.status in (403, 429) or answer.status >= 500:
            wait = retry_after(answer.headers, answer.received_at) or until_reset(answer.headers, answer.received_at)
            return RefreshFailedError(reason="temporarily_unavailable", retry_after=wait)
        return ProviderConfigurationError("api_url has no such App", reason=causes.HTTP_404, refused=False)

    def _outgoing(self, fields: dict[str, str], jwt: str) -> Outgoing:
        body: dict[str, Any] = {}
        if fields.get("repositories"):
            body["repositories"] = fields["repositories"].split()
        if fields.get("permissions"):
            pairs = [part.partition(":") for part in fields["permissions"].split()]
            body["permissions"] = {name: level for name, _, level in pairs}
        url = f"{self.api_url}/app/installations/{fields['installation_id']}/access_tokens"
        headers = {**_headers(jwt), "Content-Type": "application/json"}
        return Outgoing(url, json.dumps(body).encode(), headers)


def _headers(jwt: str) -> dict[str, str]:
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {jwt}",
        "X-GitHub-Api-Version": "2022-11-28",
    }


def _read(answer: Incoming) -> TokenSet | VaultError:
    """Read GitHub's answer. Its errors have no codes, so the status decides."""
    wait = retry_after(answer.headers, answer.received_at) or until_reset(answer.headers, answer.received_at)
    if answer.status == 429:
        return RefreshFailedError(reason="temporarily_unavailable", retry_after=wait)
    if answer.status == 403:
        return _forbidden(answer, wait)
    if answer.status == 401:  # GitHub refuses the App's JWT: the key, the id or the clock is wrong
        return ProviderConfigurationError(reason="invalid_client")
    if answer.status == 422:  # repositories or permissions that the installation does not have
        return ProviderConfigurationError(reason="invalid_scope")
    return read_answer(answer, dialect=_dialect)


def _forbidden(answer: Incoming, wait: Any) -> VaultError:
    message = str((json_object(answer.body) or {}).get("message", "")).lower()
    if "suspended" in message:
        return ProviderConfigurationError("the installation is suspended", reason=causes.SUSPENDED, refused=False)
    if wait is not None or "rate limit" in message or answer.headers.get("x-ratelimit-remaining") == "0":
        return RefreshFailedError(reason="temporarily_unavailable", retry_after=wait)
    return ProviderConfigurationError(reason="unauthorized_client")


def _dialect(status: int, members: Members | None) -> Members | None:
    if members is None or "token" not in members:
        return members
    named: dict[str, Any] = {"access_token": members["token"]}
    try:
        named["expires_at"] = int(datetime.fromisoformat(str(members.get("expires_at"))).timestamp())
    except ValueError:
        named["expires_in"] = 3600  # as documented
    return named
