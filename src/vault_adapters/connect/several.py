"""Further accounts in the answer to one exchange, such as the bot and the user of Slack."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from vault_adapters.connect.asking import Members
from vault_adapters.connect.client import Client
from vault_adapters.connect.exchanging import tokens_in
from vault_adapters.connect.identity import Answers, Identity, identify
from vault_adapters.providers.dpop import is_bound, with_key
from vault_domain.entities.extra import fitting
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)

_TOKENS = ("access_token", "refresh_token")
_DEEPEST = 4


@frozen
class Connected:
    """An account that an answer holds: its provider, its tokens, and whose they are."""

    client: Client
    token_set: TokenSet
    identity: Identity


async def others_in(
    client: Client,
    clients: Iterable[Client],
    answer: Members,
    callback: Mapping[str, str],
    http: HttpClient,
    key: Secret | None = None,
) -> list[Connected]:
    """Return the further accounts in an answer: those of `AnswerShape.also` that the host has the same client for.

    Args:
        client: the provider whose account was asked for.
        clients: all providers of the host.
        answer: the token endpoint's answer.
        callback: further parameters of the callback.
        http: the HTTP client.
        key: the private key that the tokens are bound to, or None.

    Raises:
        IdentityRefusedError, ConnectError: see `identify`.
    """
    found = []
    for other in clients:
        if not other.is_discovered:  # no profile names one as `also`
            continue
        is_same = other.made_of.client_id == client.made_of.client_id
        if other.profile.name not in client.profile.answer.also or not is_same:
            continue
        token_set = tokens_in(other.profile, answer)
        if token_set is None:
            continue
        own = key if is_bound(token_set) else None
        identity = await identify(other, Answers(answer, None, token_set.access_token, {}, callback, own), http)
        extra = fitting({**token_set.extra, **identity.kept})
        found.append(Connected(other, with_key(evolve(token_set, extra=extra), own), identity))
    return found


def warn_of_rest(client: Client, answer: Members, stored: Iterable[TokenSet]) -> None:
    """Log a warning if an answer holds tokens that are not stored."""
    kept = {token.reveal() for each in stored for token in (each.access_token, each.refresh_token) if token is not None}
    if set(_tokens_in(answer, _DEEPEST)) <= kept:
        return
    names = client.profile.answer.also
    hint = f"; connect with a refresher of {' or '.join(names)} too, for the same client" if names else ""
    _log.warning("the answer of %s held further tokens, which were not stored%s", client.name, hint)


def _tokens_in(value: Any, depth: int) -> Iterator[str]:
    items = value.items() if isinstance(value, Mapping) else ((None, item) for item in _list(value))
    for name, item in items:
        if name in _TOKENS and isinstance(item, str) and item:
            yield item
        elif depth:
            yield from _tokens_in(item, depth - 1)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
