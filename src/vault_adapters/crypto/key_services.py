"""Opens the master key of a key service by its URI."""

from __future__ import annotations

from pathlib import Path

from vault_adapters.crypto import kms, pkcs11_key, transit
from vault_adapters.crypto.service_tokens import ServiceTokens
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.master_key import MasterKey

FORMS = (
    "`aws-kms:<key id, alias or ARN>`, `transit:https://<host>:<port>/<mount>/<key>`"
    " or `pkcs11:token=<label>;object=<label>`"
)
"""The forms of URIs, for error messages."""


def service_key(uri: str, tokens: Path | None = None) -> MasterKey:
    """Return the master key of a URI; this does not call the key service.

    Args:
        uri: names a key of a key service.
        tokens: see `Tuning.key_service_tokens`.

    Raises:
        ConfigurationError: the URI names no key of a key service.
    """
    if kms.is_kms_uri(uri):
        return kms.KmsMasterKey(uri)
    if transit.is_transit_uri(uri):
        return transit.TransitMasterKey(uri, ServiceTokens(tokens))
    if pkcs11_key.is_pkcs11_uri(uri):
        return pkcs11_key.Pkcs11MasterKey(uri, ServiceTokens(tokens).entry)
    raise ConfigurationError(f"a key of a key service is named {FORMS}", code="master_key_unknown")
