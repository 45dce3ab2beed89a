"""Refreshers for the providers of the original design, as their documentation has it.

``voicenter``, ``icount`` and ``clerk`` have none: their hosts hold API keys that do not expire and that nothing can
be exchanged for. Store them as `TokenKind.API_KEY` and read them with ``get_token``; when one is withdrawn,
``mark_token_invalid`` tells everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from vault_adapters.providers.greeninvoice import GREENINVOICE_TOKEN_URL, GreenInvoiceRefresher
from vault_adapters.providers.meta import META_TOKEN_URL, MetaTokenExchangeRefresher
from vault_adapters.providers.oauth2 import OAuth2Refresher
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret

GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"
GOOGLE_REVOCATION_URL = "https://oauth2.googleapis.com/revoke"

__all__ = ["google", "greeninvoice", "whatsapp"]


def google(
    client_id: str,
    client_secret: Secret | str,
    *,
    scopes: Sequence[str] | None = None,
    token_url: str = GOOGLE_TOKEN_URL,
    revocation_url: str | None = GOOGLE_REVOCATION_URL,
) -> OAuth2Refresher:
    """Return a refresher for Google.

    Access tokens live for about an hour. Refresh tokens do not rotate, so an attempt may be repeated; Google sends
    one at the first consent only, and it dies when it is not used for six months, when the user revokes it, or after
    seven days while the app's consent screen is in testing.

    Source: developers.google.com/identity/protocols/oauth2/web-server ("Refreshing an access token", "Revoking a
    token"), which sends the client's id and secret in the body.

    Args:
        client_id: from the Google Cloud console.
        client_secret: text or `Secret`.
        scopes: to ask for; None asks for those of the grant.
        token_url: for tests.
        revocation_url: for tests; None switches revocation off.

    Raises:
        InvalidInputError: an argument breaks its rule; no value is repeated.
    """
    return OAuth2Refresher(
        token_url,
        client_id,
        client_secret,
        auth_method="client_secret_post",
        scopes=scopes,
        rotation=Rotation.non_rotating(),
        revocation_url=revocation_url,
    )


def whatsapp(
    client_id: str, client_secret: Secret | str, *, token_url: str = META_TOKEN_URL
) -> MetaTokenExchangeRefresher:
    """Return a refresher for the WhatsApp Business Platform, whose user tokens are Meta's.

    A system user's token that never expires is stored without ``expires_at`` and is then left alone.

    Args:
        client_id: the Meta app's id.
        client_secret: the Meta app's secret, text or `Secret`.
        token_url: for tests, or to pin a version of the Graph API.

    Raises:
        InvalidInputError: an argument breaks its rule; no value is repeated.
    """
    return MetaTokenExchangeRefresher(client_id, client_secret, token_url=token_url)


def greeninvoice(*, token_url: str = GREENINVOICE_TOKEN_URL) -> GreenInvoiceRefresher:
    """Return a refresher for GreenInvoice (Morning); each account stores its own API key.

    Args:
        token_url: the sandbox's, or a test's.

    Raises:
        InvalidInputError: an argument breaks its rule; no value is repeated.
    """
    return GreenInvoiceRefresher(token_url)
