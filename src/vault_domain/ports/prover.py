"""Prover: makes the proofs that a request comes from the holder of a token's private key (DPoP, RFC 9449)."""

from datetime import timedelta
from typing import Protocol

from vault_domain.entities.secret import Secret


class Prover(Protocol):
    """Makes proofs."""

    def prove(
        self,
        key: Secret,
        method: str,
        url: str,
        *,
        access_token: Secret | None = None,
        nonce: str | None = None,
        ahead: timedelta = timedelta(0),
    ) -> str:
        """Return the value of the header ``DPoP`` for one request.

        Args:
            key: the private key.
            method: the request's method.
            url: the request's URL; its query and fragment are not part of the proof.
            access_token: the access token that the request carries, or None.
            nonce: the nonce that the server gave, or None.
            ahead: by how much this machine's clock is ahead of the server's.
        """
