"""Bearer tokens for httpx."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from vault_adapters.clients.access import misuse
from vault_adapters.clients.bearer_flow import BearerFlow

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens, SyncAccessTokens
    from vault_domain.entities.account import Account


class VaultAuth(BearerFlow[httpx.Request, httpx.Response], httpx.Auth):
    """Authenticates the requests of an httpx client with an account's access token.

    - If an answer rejects the token, this class reports that to the vault, which refreshes at most once, and sends the
      request once more with the next token.
    - A request with a streamed body is not sent again: this class only reports the rejection, and the caller gets the
      first answer.
    - Only the request's origin gets the token; httpx removes the header when a redirect leads to another origin.

    Args:
        vault: a `TokenVault` with `httpx.AsyncClient`, a `SyncVault` with `httpx.Client`.
        account: the account whose token is sent.
        rejected: function that returns whether a response rejects the token; None: status 401 does. It sees status
            and headers only, because the body has not been read yet.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, `VaultError` with the code
    ``token_not_sendable`` if a header cannot carry the token, and `RuntimeError` if one of client and vault is
    async and the other is sync.
    """

    def __init__(
        self,
        vault: AccessTokens | SyncAccessTokens,
        account: Account,
        *,
        rejected: Callable[[httpx.Response], bool] | None = None,
    ) -> None:
        refusal = misuse(vault, account)
        if refusal is not None:
            del vault, account  # tracebacks must not hold them
            raise refusal
        super().__init__(vault, account, rejected, _is_replayable)


def _is_replayable(request: httpx.Request) -> bool:
    # Only a body in memory can be sent again; the first try uses up generators, files and multipart streams.
    return isinstance(request.stream, httpx.ByteStream)
