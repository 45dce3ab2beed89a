"""Opens the master keys of key services by their URIs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vault_adapters.crypto.azure_key import AzureMasterKey
from vault_adapters.crypto.google_kms import GoogleMasterKey
from vault_adapters.crypto.kms import KmsMasterKey
from vault_adapters.crypto.pkcs11_key import Pkcs11MasterKey
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_adapters.crypto.transit import TransitMasterKey
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.master_key import MasterKey

FORMS = (
    "`aws-kms:<key id, alias or ARN>`,"
    " `gcp-kms:projects/<project>/locations/<location>/keyRings/<ring>/cryptoKeys/<key>`,"
    " `azure-kv:https://<vault>/keys/<key>`, `transit:https://<host>:<port>/<mount>/<key>`"
    " or `pkcs11:token=<label>;object=<label>`"
)
"""The forms of URIs, for error messages."""

_OPENERS: dict[str, Callable[[str, ServiceTokens], MasterKey]] = {
    "aws-kms": lambda uri, _: KmsMasterKey(uri),
    "gcp-kms": lambda uri, tokens: GoogleMasterKey(uri, tokens.entry),
    "azure-kv": lambda uri, tokens: AzureMasterKey(uri, tokens.entry),
    "transit": TransitMasterKey,
    "pkcs11": lambda uri, tokens: Pkcs11MasterKey(uri, tokens.entry),
}


def provider_of(uri: str) -> str:
    """Return the name of a key service in a URI."""
    return uri.partition(":")[0]


def service_key(uri: str, tokens: Path | None = None) -> MasterKey:
    """Return the master key of a URI; this does not call the key service.

    Args:
        uri: names a key of a key service.
        tokens: see `Tuning.key_service_tokens`.

    Raises:
        ConfigurationError: the URI names no key of a key service.
    """
    opener = _OPENERS.get(provider_of(uri))
    if opener is None:
        raise ConfigurationError(f"a key of a key service is named {FORMS}", code="master_key_unknown")
    return opener(uri, ServiceTokens(tokens))


def vault_key(uri: str, tokens: Path | None = None) -> MasterKey:
    """Return `service_key` for the whole vault: a key under which only its key service can wrap.

    Whoever can write to the database could put a data key of their own under the public half of an RSA key. A wrap
    under a tenant's key is sealed under the vault's, so there it does no harm.

    Raises:
        ConfigurationError: see `service_key`; or the key is an RSA key. Of a Transit key, this is known at the first
            wrap only.
    """
    if provider_of(uri) == "transit":
        return TransitMasterKey(uri, ServiceTokens(tokens), only_symmetric=True)
    key = service_key(uri, tokens)
    if isinstance(key, AzureMasterKey) and not key.is_symmetric:
        raise ConfigurationError(
            "a vault's master key in Azure must be an AES key of a Managed HSM, named with `;alg=A256KW`",
            code="azure_key_type",
        )
    return key
