"""The addresses of callbacks: each provider has its own, so the address shows who sent an answer (RFC 9700 4.4.2.2)."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from vault_adapters.providers.endpoint import as_endpoint

_PROVIDER = "{provider}"


def redirect_uris(redirect_uri: object, providers: Collection[str]) -> dict[str, str]:
    """Return the redirect URI of each provider.

    ``{provider}`` in the given redirect URI stands for the provider's name. Without it, a provider that is the only
    one has the given redirect URI. Each of several providers has the given redirect URI with a further segment, its
    name.

    Args:
        redirect_uri: the redirect URI that the host gave.
        providers: the names of the providers.

    Raises:
        InvalidInputError: the redirect URI is not valid; the message does not repeat it.
    """
    template = as_endpoint(redirect_uri, "redirect_uri")
    if _PROVIDER not in template and len(providers) > 1:
        parts = urlsplit(template)
        template = parts._replace(path=f"{parts.path.rstrip('/')}/{_PROVIDER}").geturl()
    return {name: template.replace(_PROVIDER, name) for name in providers}
