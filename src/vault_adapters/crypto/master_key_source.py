"""Sources of master keys: configured keys that are not yet matched with records of the database."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from vault_adapters.crypto import local_key
from vault_adapters.crypto.secret_strength import refuse_weak
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.entities.secret import Secret
from vault_domain.ports.master_key import MasterKey

LOCAL = "local"


class MasterKeySource(Protocol):
    """One configured master key; it can open its record and make a new record."""

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """Return the key of a record, or None if the record belongs to another source.

        Raises:
            ConfigurationError: the record's parameters are not valid, or the memory does not suffice for scrypt.
        """

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """Return a new record to store, and its key.

        If the key is in a key service, this method first checks that the key can be used.

        Raises:
            ConfigurationError: the key service refuses permanently, or the memory does not suffice for scrypt.
            KeyUnavailableError: the key service cannot be reached.
        """


@frozen(eq=False, repr=False)
class LocalSource:
    """The master key that is derived from an encryption secret."""

    secret: Secret
    log2_n: int

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """See `MasterKeySource`."""
        return await local_key.open_record(record, self.secret) if record.provider == local_key.PROVIDER else None

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """See `MasterKeySource`."""
        return await local_key.new_record(self.secret, self.log2_n)


@frozen(eq=False, repr=False)
class ServiceSource:
    """A key of a key service. `make` calls it before the record is stored, so that denied access is found early.

    Attributes:
        uri: names the key.
        open_key: opens the key of a URI; it does not call the service.
    """

    uri: str
    open_key: Callable[[str], MasterKey] = field(eq=False)

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        """See `MasterKeySource`."""
        key = self.open_key(self.uri)
        provider = self.uri.partition(":")[0]
        return key if (record.provider, record.uri, record.key_id) == (provider, self.uri, key.key_id) else None

    async def make(self) -> tuple[MasterKeyRecord, MasterKey]:
        """See `MasterKeySource`."""
        key = self.open_key(self.uri)
        await key.check()
        return MasterKeyRecord(key.key_id, self.uri.partition(":")[0], uri=self.uri), key


def configured_sources(
    secret: Secret | None,
    previous_secret: Secret | None,
    log2_n: int,
    master_key: str,
    previous_master_key: str | None,
    tokens: Path | None = None,
) -> tuple[MasterKeySource, ...]:
    """Return the source of the configured master key, then the sources of previous ones.

    `open_master_keys` explains the arguments.

    Raises:
        ConfigurationError: a secret is missing or not valid, the current secret is obviously not random, or the name of
            a master key is not valid.
    """
    current, previous = (
        None if text is None else local_key.as_encryption_secret(text) for text in (secret, previous_secret)
    )
    if current is not None:
        refuse_weak(current)  # a weak previous secret is allowed, because it is about to be replaced
    sources = [_source(master_key, current, log2_n, tokens)]
    if previous_master_key is not None and previous_master_key != master_key:
        sources.append(_source(previous_master_key, current or previous, log2_n, tokens))
    if previous is not None:
        sources.append(LocalSource(previous, log2_n))
    return tuple(source for number, source in enumerate(sources) if source not in sources[:number])


def _source(master_key: str, secret: Secret | None, log2_n: int, tokens: Path | None) -> MasterKeySource:
    if master_key == LOCAL:
        if secret is None:
            raise ConfigurationError(
                "an encryption secret is required: set ENCRYPTION_SECRET or ENCRYPTION_SECRET_FILE "
                "(`token-vault generate-secret` makes one)",
                code="encryption_secret_missing",
            )
        return LocalSource(secret, log2_n)
    from vault_adapters.crypto.key_services import vault_key  # only a vault with a key service loads it

    source = ServiceSource(master_key, partial(vault_key, tokens=tokens))
    source.open_key(master_key)  # a name that is none is found before the store is asked
    return source
