"""Opening the master keys at start: matching what is configured with what the database has."""

from collections.abc import Iterable, Sequence

from vault_adapters.crypto.local_key import DEFAULT_LOG2_N
from vault_adapters.crypto.local_key import PROVIDER as LOCAL_PROVIDER
from vault_adapters.crypto.master_key_source import LOCAL, LocalSource, MasterKeySource, configured_sources
from vault_domain.entities.errors import ConfigurationError, WrongEncryptionSecretError
from vault_domain.entities.key_records import MasterKeyRecord, MasterKeyState
from vault_domain.entities.secret import Secret
from vault_domain.ports.key_repository import KeyRepository
from vault_domain.ports.master_key import MasterKey, MasterKeys

_ATTEMPTS = 10
"""How often to introduce a key while others introduce theirs."""


async def open_master_keys(
    repository: KeyRepository,
    *,
    secret: Secret | None = None,
    previous_secret: Secret | None = None,
    scrypt_log2_n: int = DEFAULT_LOG2_N,
    master_key: str = LOCAL,
    previous_master_key: str | None = None,
) -> MasterKeys:
    """Open every master key of the database that the configuration can open.

    A new database gets the configured one as its active master key. Where only a previous one opens the active
    key, the configured one is introduced beside it and nothing else changes; a rotation makes it active.

    Args:
        repository: the key tables.
        secret: the current encryption secret.
        previous_secret: the one before, while the secret is being changed.
        scrypt_log2_n: the cost for a key that is made now, 14 to 18; stored keys keep theirs.
        master_key: what is to be the active key: ``local`` (derived from the secret) or ``aws-kms:<key id or ARN>``.
        previous_master_key: the same for the one before, while the master key moves.

    Raises:
        ConfigurationError: a secret is missing or too short; stored parameters were edited; the database holds
            data but no master key (code ``master_key_missing``).
        WrongEncryptionSecretError: no configured secret opens the active key. Nothing was written.
        KeyUnavailableError: a key service that is to be introduced cannot be reached.
    """
    sources = configured_sources(secret, previous_secret, scrypt_log2_n, master_key, previous_master_key)
    return await open_with_sources(repository, sources)


async def open_with_sources(repository: KeyRepository, sources: Sequence[MasterKeySource]) -> MasterKeys:
    """Do what `open_master_keys` does, for sources of which the first is the current one."""
    current, *previous = [_Candidate(source) for source in sources]
    records = await repository.master_keys()
    if not records:
        records = await repository.introduce_first_master_key(await current.make())
    for _ in range(_ATTEMPTS):
        opened = await _open_all(_live(records), [current, *previous])
        configured = [key_id for key_id in opened if key_id in current.opened]
        if configured:
            return MasterKeys(opened, next(iter(opened)), configured[0])
        known = frozenset(record.key_id for record in records)
        records = await repository.introduce_master_key(await current.make(), known)
    raise ConfigurationError("other processes keep introducing master keys", code="master_key_conflict", retryable=True)


class _Candidate:
    """A source and what it opened. It is tried once against each record: scrypt is slow on purpose."""

    def __init__(self, source: MasterKeySource) -> None:
        self.source = source
        self.opened: dict[bytes, MasterKey] = {}
        self._tried: set[bytes] = set()
        self._made: MasterKeyRecord | None = None

    async def make(self) -> MasterKeyRecord:
        """Return the record of a new key, the same at every attempt to store it."""
        if self._made is None:
            self._made, self.opened[self._made.key_id] = await self.source.make()
        return self._made

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        if record.key_id not in self._tried and record.key_id not in self.opened:
            self._tried.add(record.key_id)
            key = await self.source.open(record)
            if key is not None:
                self.opened[record.key_id] = key
        return self.opened.get(record.key_id)


def _live(records: Iterable[MasterKeyRecord]) -> list[MasterKeyRecord]:
    """Return the records that are not retired, the active one first."""
    live = [record for record in records if record.state is not MasterKeyState.RETIRED]
    live.sort(key=lambda record: record.state is not MasterKeyState.ACTIVE)
    if [record.state for record in live[:2]].count(MasterKeyState.ACTIVE) != 1:
        raise ConfigurationError(
            "the database does not have exactly one active master key, though it holds data or other master keys; "
            "nothing was written",
            code="master_key_missing",
        )
    return live


async def _open_all(live: list[MasterKeyRecord], candidates: list[_Candidate]) -> dict[bytes, MasterKey]:
    """Open what can be opened, in order; the first, which is the active one, must be."""
    opened: dict[bytes, MasterKey] = {}
    for record in live:
        for candidate in candidates:
            key = await candidate.open(record)
            if key is not None:
                opened[record.key_id] = key
                break
        if not opened:
            raise _refusal(record, candidates)
    return opened


def _refusal(active: MasterKeyRecord, candidates: list[_Candidate]) -> ConfigurationError:
    if active.provider == LOCAL_PROVIDER and any(isinstance(candidate.source, LocalSource) for candidate in candidates):
        return WrongEncryptionSecretError()
    return ConfigurationError(
        "the configured master keys are not the one that this database uses; nothing was written",
        code="wrong_master_key",
    )
