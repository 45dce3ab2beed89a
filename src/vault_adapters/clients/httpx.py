"""Bearer tokens for httpx."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from vault_adapters.clients.bearer_flow import BearerFlow

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens, SyncAccessTokens
    from vault_domain.entities.account import Account


class VaultAuth(BearerFlow[httpx.Request, httpx.Response], httpx.Auth):
    """Authenticates the requests of an httpx client with an account's access token.

    When the answer says that the token was refused, that is reported to the vault, which refreshes it at most once,
    and the request is sent once more with the next token. A streamed body cannot be sent again: the refusal is
    reported, and the first answer is what the caller gets. The token goes to the origin that the request is
    addressed to; httpx takes it off when it follows a redirect to another one.

    Args:
        vault: a `TokenVault` with `httpx.AsyncClient`, a `SyncVault` with `httpx.Client`.
        account: whose token.
        rejected: whether a response says that the token was refused; None: status 401. It sees status and headers,
            the body has not been read yet.

    A request raises what the vault's `ensure_access_token` and `report_rejected` raise, and `RuntimeError` where
    client and vault are not both async or both sync.
    """

    def __init__(
        self,
        vault: AccessTokens | SyncAccessTokens,
        account: Account,
        *,
        rejected: Callable[[httpx.Response], bool] | None = None,
    ) -> None:
        super().__init__(vault, account, rejected, _is_replayable)


def _is_replayable(request: httpx.Request) -> bool:
    # A body that was given whole, or none; generators, files and multipart streams are used up by the first try.
    return isinstance(request.stream, httpx.ByteStream)
