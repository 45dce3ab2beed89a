"""Master keys as they are configured, before it is known which record of the database they belong to."""

from typing import Any, Protocol

from attrs import frozen

from vault_adapters.crypto import kms, local_key
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.entities.secret import Secret
from vault_domain.ports.master_key import MasterKey

LOCAL = "local"


class MasterKeySource(Protocol):
    """One configured master key: it opens its record and can make a new one."""

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """Return the key of a record, or None where the record is not this source's.

        Raises:
            ConfigurationError: the record is not acceptable.
        """

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """Return a record to be stored, and its key, which can be used now."""


@frozen
class LocalSource:
    """The master key that an encryption secret gives."""

    secret: Secret
    log2_n: int

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """See `MasterKeySource`."""
        return await local_key.open_record(record, self.secret) if record.provider == local_key.PROVIDER else None

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """See `MasterKeySource`."""
        return await local_key.new_record(self.secret, self.log2_n)


@frozen
class KmsSource:
    """A key of AWS KMS. It is tried before it is introduced: nobody should learn later that access is denied.

    Attributes:
        uri: ``aws-kms:<key id or ARN>``.
        client: a boto3 client, or None for one of its own.
    """

    uri: str
    client: Any = None

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """See `MasterKeySource`."""
        key = kms.KmsMasterKey(self.uri, self.client)
        same = (record.provider, record.uri, record.key_id) == (kms.PROVIDER, self.uri, key.key_id)
        return key if same else None

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """See `MasterKeySource`."""
        key = kms.KmsMasterKey(self.uri, self.client)
        await key.check()
        return MasterKeyRecord(key.key_id, kms.PROVIDER, uri=self.uri), key


def configured_sources(
    secret: Secret | None,
    previous_secret: Secret | None,
    log2_n: int,
    master_key: str,
    previous_master_key: str | None,
) -> tuple[MasterKeySource, ...]:
    """Return the current source first, then the previous ones; the arguments are those of `open_master_keys`.

    Raises:
        ConfigurationError: a secret is missing or not acceptable, or a master key is named that does not exist.
    """
    current, previous = (
        None if text is None else local_key.as_encryption_secret(text) for text in (secret, previous_secret)
    )
    sources = [_source(master_key, current, log2_n)]
    if previous_master_key is not None and previous_master_key != master_key:
        sources.append(_source(previous_master_key, current or previous, log2_n))
    if previous is not None:
        sources.append(LocalSource(previous, log2_n))
    return tuple(source for number, source in enumerate(sources) if source not in sources[:number])


def _source(master_key: str, secret: Secret | None, log2_n: int) -> MasterKeySource:
    if master_key == LOCAL:
        if secret is None:
            raise ConfigurationError(
                "an encryption secret is required: set ENCRYPTION_SECRET (`token-vault generate-secret` makes one)",
                code="encryption_secret_missing",
            )
        return LocalSource(secret, log2_n)
    if kms.is_kms_uri(master_key):
        return KmsSource(master_key)
    raise ConfigurationError("master_key must be `local` or `aws-kms:<key id or ARN>`", code="master_key_unknown")
