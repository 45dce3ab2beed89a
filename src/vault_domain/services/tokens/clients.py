"""Tells the fingerprint of the OAuth client that a refresher presents for an account."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping, Sequence

from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.token import TokenDraft
from vault_domain.ports.token_refresher import ClientNamer, TokenRefresher
from vault_domain.rules.clients import fingerprint

_log = logging.getLogger(__name__)

_ISSUED = frozenset({TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN})
"""The kinds of tokens that a provider issues to a client."""


class Clients:
    """The clients that the refreshers present, as fingerprints."""

    def __init__(self, refreshers: Mapping[str, TokenRefresher]) -> None:
        self._namers = {name: each for name, each in refreshers.items() if isinstance(each, ClientNamer)}

    def of(self, account: Account) -> bytes | None:
        """Return the fingerprint of the client that is presented for an account; None if no refresher names one."""
        return self._named(account.provider, account)

    def is_shared(self, provider: str) -> bool:
        """Return whether all accounts of a provider have the same client; True if its refresher is no `ClientNamer`."""
        return provider not in self._namers or self._named(provider, None) is not None

    def shared(self, provider: str) -> bytes | None:
        """Return the fingerprint of the client that all accounts of a provider share; None if none is known."""
        return self._named(provider, None)

    def sign(self, drafts: Sequence[TokenDraft]) -> list[TokenDraft]:
        """Return the drafts; access and refresh tokens without a fingerprint get that of their account's client."""
        return [self._signed(draft) for draft in drafts]

    def _signed(self, draft: TokenDraft) -> TokenDraft:
        if draft.client is not None or draft.key.kind not in _ISSUED or draft.key.provider not in self._namers:
            return draft
        client = self.of(draft.key.account)
        return draft if client is None else evolve(draft, client=client)

    def _named(self, provider: str, account: Account | None) -> bytes | None:
        namer = self._namers.get(provider)
        if namer is None:
            return None
        try:
            client_id: object = namer.client_id_of(account)
            if client_id is None:
                return None
            if isinstance(client_id, str):
                return fingerprint(provider, client_id)
            # Do not fingerprint the repr of a client id that is no text, because the repr may differ at each call.
            kind = type(client_id)
            if isinstance(client_id, Coroutine):
                client_id.close()  # so that Python does not warn that it was never awaited
        except Exception as error:  # a host's own refresher may raise any exception
            kind = type(error)
        # Log the type only, because the error's text or the client id may hold a secret.
        _log.error("a refresher for %s could not name its client (%s)", provider, kind.__qualname__)
        return None
