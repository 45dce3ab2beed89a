"""Ready-made refreshers for some providers; `refresher` makes one for any provider whose profile has a token endpoint.

Providers such as ``stripe`` and ``clerk`` need no refresher, because their API keys do not expire. Store such a key as
`TokenKind.API_KEY`; `ensure_access_token` and the HTTP clients then use it.
"""

from __future__ import annotations

from vault_adapters.providers.greeninvoice import GREENINVOICE_TOKEN_URL, GreenInvoiceRefresher
from vault_adapters.providers.meta import META_TOKEN_URL, MetaTokenExchangeRefresher
from vault_adapters.providers.oauth2 import OAuth2Refresher
from vault_adapters.providers.profiled import with_client
from vault_adapters.providers.profiles import packaged_profile
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import Scopes

_GOOGLE = packaged_profile("google")

GOOGLE_TOKEN_URL = _GOOGLE.token_url or ""
GOOGLE_REVOCATION_URL = _GOOGLE.revocation_url or ""

__all__ = ["google", "greeninvoice", "whatsapp"]


@scrubbed
def google(
    client_id: str,
    client_secret: Secret | str,
    *,
    scopes: Scopes | None = None,
    token_url: str = GOOGLE_TOKEN_URL,
    revocation_url: str | None = GOOGLE_REVOCATION_URL,
) -> OAuth2Refresher:
    """Return a refresher for Google.

    - Access tokens last about an hour.
    - A revocation ends all grants of the user for this client.
    - Refresh tokens do not rotate, so an attempt may be repeated.
    - Google sends a refresh token only if the authorization request has ``access_type=offline``. It then sends one at
      the user's first consent, or at every consent if the request also has ``prompt=consent``.
    - A refresh token becomes invalid after six months without use, or when the user revokes it. While the app's consent
      screen is in testing, it becomes invalid after seven days.

    The profile ``google`` holds these facts, with their sources.

    Args:
        client_id: the client id from the Google Cloud console.
        client_secret: the client secret, text or `Secret`.
        scopes: the scopes that users are asked for; a refresh does not send them.
        token_url: another token endpoint, for tests.
        revocation_url: another revocation endpoint, for tests; None switches revocation off.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    return with_client(
        _GOOGLE,
        client_id,
        client_secret,
        auth_method="client_secret_post",
        scopes=scopes,
        token_url=token_url,
        revocation_url=revocation_url,
    )


@scrubbed
def whatsapp(
    client_id: str, client_secret: Secret | str, *, token_url: str = META_TOKEN_URL
) -> MetaTokenExchangeRefresher:
    """Return a refresher for the WhatsApp Business Platform, whose tokens are Meta's user tokens.

    If the token of a Meta system user never expires, store it without ``expires_at``. The vault then does not refresh
    it.

    Args:
        client_id: the Meta app's id.
        client_secret: the Meta app's secret, text or `Secret`.
        token_url: another token endpoint, for tests or to pin a version of the Graph API.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    return MetaTokenExchangeRefresher(client_id, client_secret, token_url=token_url)


@scrubbed
def greeninvoice(*, token_url: str = GREENINVOICE_TOKEN_URL) -> GreenInvoiceRefresher:
    """Return a refresher for GreenInvoice (Morning); each account stores its own API key.

    Args:
        token_url: another token endpoint, for the sandbox or for tests.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    return GreenInvoiceRefresher(token_url)
