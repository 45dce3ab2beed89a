"""Opens the master key of a key service by its URI."""

from __future__ import annotations

from vault_adapters.crypto import kms
from vault_domain.entities.errors import ConfigurationError
from vault_domain.ports.master_key import MasterKey

FORMS = "`aws-kms:<key id, alias or ARN>`"
"""The forms of URIs, for error messages."""


def is_service_uri(uri: str) -> bool:
    """Return whether a URI names a key of a key service that the vault knows."""
    return kms.is_kms_uri(uri)


def service_key(uri: str) -> MasterKey:
    """Return the master key of a URI; this does not call the key service.

    Raises:
        ConfigurationError: the URI names no key of a key service.
    """
    if kms.is_kms_uri(uri):
        return kms.KmsMasterKey(uri)
    raise ConfigurationError(f"a key of a key service is named {FORMS}", code="master_key_unknown")
