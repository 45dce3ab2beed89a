"""Opens the master keys when a vault opens, by matching the configured keys with the database's records."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vault_adapters.crypto.local_key import DEFAULT_LOG2_N
from vault_adapters.crypto.local_key import PROVIDER as LOCAL_PROVIDER
from vault_adapters.crypto.master_key_source import LOCAL, LocalSource, configured_sources
from vault_adapters.crypto.scrypt_parameters import DAMAGED_PARAMETERS
from vault_domain.entities.errors import ConfigurationError, WrongEncryptionSecretError
from vault_domain.entities.key_records import MasterKeyState
from vault_domain.entities.token import DAMAGED_ROW
from vault_domain.ports.master_key import MasterKeys
from vault_domain.rules.key_states import RESURRECTED_MASTER_KEY, is_resurrected_master_key

if TYPE_CHECKING:
    from vault_adapters.crypto.master_key_source import MasterKeySource
    from vault_domain.entities.key_records import MasterKeyRecord
    from vault_domain.entities.secret import Secret
    from vault_domain.ports.keys import Keys
    from vault_domain.ports.master_key import MasterKey

_log = logging.getLogger(__name__)

_MOST_FURTHER = 3
"""Largest number of records, besides the active one, that are tried with scrypt."""

_TOO_MANY = "too_many_master_keys"
"""Reason for passing over a record that was not tried with scrypt; the record may be sound."""

_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_ATTEMPTS = 10
"""Largest number of attempts to introduce a key while other processes introduce theirs."""


async def open_master_keys(
    repository: Keys,
    *,
    secret: Secret | None = None,
    previous_secret: Secret | None = None,
    scrypt_log2_n: int = DEFAULT_LOG2_N,
    master_key: str = LOCAL,
    previous_master_key: str | None = None,
) -> MasterKeys:
    """Open every master key of the database that the configuration can open.

    - A new database gets the configured master key as its active one.
    - If only a previous master key opens the active record, the configured master key is stored too, but not as
      the active one. A later rotation makes it active.

    Args:
        repository: holds the records of the master keys.
        secret: the current encryption secret.
        previous_secret: the previous secret, during a master key rotation.
        scrypt_log2_n: scrypt cost of a new local key, 14 to 18; stored keys keep their cost.
        master_key: the configured master key: ``local`` (derived from the secret), or the URI of a key service's key.
        previous_master_key: the previous master key, during a master key rotation.

    Raises:
        ConfigurationError: a secret is missing, too short or obviously not random, the stored scrypt parameters are not
            acceptable, there is not enough memory for scrypt, no configured master key is the active one (code
            ``wrong_master_key``), the database holds data but does not have exactly one active master key (code
            ``master_key_missing``), the state of the active one was set back (code ``resurrected_master_key``), or
            other processes keep introducing master keys (code ``master_key_conflict``).
        WrongEncryptionSecretError: no configured secret opens the active master key. No key and no token was written.
        KeyUnavailableError: the key service of a new master key cannot be reached.
    """
    sources = configured_sources(secret, previous_secret, scrypt_log2_n, master_key, previous_master_key)
    return await open_with_sources(repository, sources)


async def open_with_sources(repository: Keys, sources: Sequence[MasterKeySource]) -> MasterKeys:
    """Open the master keys as `open_master_keys` does; the first source is the configured master key."""
    current, *previous = [_Candidate(source) for source in sources]
    records = await repository.master_keys()
    if not records:
        from vault_domain.transitions.keys import introduced_first

        first = await current.make()
        change = await repository.change_master_keys(lambda keys, now: introduced_first(keys, now, first))
        records = change.result
    for _ in range(_ATTEMPTS):
        opened = await _open_all(_live(records), [current, *previous])
        configured = [key_id for key_id in opened if key_id in current.opened]
        if configured:
            return MasterKeys(opened, next(iter(opened)), configured[0])
        known = frozenset(record.key_id for record in records)
        records = await _introduce(repository, await current.make(), known)
    raise ConfigurationError("other processes keep introducing master keys", code="master_key_conflict", retryable=True)


async def _introduce(repository: Keys, record: MasterKeyRecord, known: frozenset[bytes]) -> list[MasterKeyRecord]:
    from vault_domain.transitions.keys import introduced

    change = await repository.change_master_keys(lambda keys, now: introduced(keys, now, record, known))
    return change.result


class _Candidate:
    """A source and the master keys that it opened. It tries each record only once, because scrypt is slow."""

    def __init__(self, source: MasterKeySource) -> None:
        self.source = source
        self.opened: dict[bytes, MasterKey] = {}
        self._tried: set[bytes] = set()
        self._made: MasterKeyRecord | None = None

    async def make(self) -> MasterKeyRecord:
        """Return the record of a new master key; later calls return the same record."""
        if self._made is None:
            self._made, self.opened[self._made.key_id] = await self.source.make()
        return self._made

    def is_known(self, record: MasterKeyRecord) -> bool:
        """Return True if no further scrypt run is needed to tell whether this candidate opens the record."""
        return record.key_id in self._tried or record.key_id in self.opened

    async def open(self, record: MasterKeyRecord) -> MasterKey | None:
        if record.key_id not in self._tried and record.key_id not in self.opened:
            self._tried.add(record.key_id)
            key = await self.source.open(record)
            if key is not None:
                self.opened[record.key_id] = key
        return self.opened.get(record.key_id)


def _live(records: Iterable[MasterKeyRecord]) -> list[MasterKeyRecord]:
    """Return the records that are neither retired nor resurrected: the active one first, the others newest first.

    Raises:
        ConfigurationError: there is not exactly one active master key, or its state was set back.
    """
    live = []
    for record in records:
        if is_resurrected_master_key(record):
            _log.error("master key %s was set back to an older state: %s", record.key_id.hex(), RESURRECTED_MASTER_KEY)
            if record.state is MasterKeyState.ACTIVE:
                raise ConfigurationError(
                    "the audit log says that the active master key was replaced, so someone set its state back; "
                    "no key and no token was written",
                    code=RESURRECTED_MASTER_KEY,
                )
        elif record.state is not MasterKeyState.RETIRED:
            live.append(record)
    live.sort(key=lambda record: record.created_at or _UNKNOWN_TIME, reverse=True)
    live.sort(key=lambda record: record.state is not MasterKeyState.ACTIVE)
    if [record.state for record in live[:2]].count(MasterKeyState.ACTIVE) != 1:
        raise ConfigurationError(
            "the database does not have exactly one active master key, though it holds data or other master keys; "
            "no key and no token was written",
            code="master_key_missing",
        )
    return live


async def _open_all(live: list[MasterKeyRecord], candidates: list[_Candidate]) -> dict[bytes, MasterKey]:
    """Open all records that the candidates can open; raise if they cannot open the first record, which is active."""
    active, *others = live
    key = await _open_any(active, candidates)
    if key is None:
        raise _refusal(active, candidates)
    opened = {active.key_id: key}
    tried = _limited(others, candidates)
    passed_over = Counter({_TOO_MANY: len(others) - len(tried)})
    for record in tried:
        try:
            key = await _open_any(record, candidates)
        except ConfigurationError as error:
            if error.code != DAMAGED_PARAMETERS:
                raise
            # The vault opens in spite of a damaged record, because the active master key is open.
            passed_over[DAMAGED_ROW] += 1
            continue
        if key is not None:
            opened[record.key_id] = key
    for reason, count in (+passed_over).items():
        _log.error("%d records of master keys were passed over: reason %s", count, reason)
    return opened


def _limited(records: Sequence[MasterKeyRecord], candidates: Sequence[_Candidate]) -> list[MasterKeyRecord]:
    """Return the records to try: all that need no further scrypt run, and the newest few of the others.

    A scrypt run takes up to a second for each secret. Without a limit, records that somebody added to the table could
    keep the vault from ever opening.
    """
    tried, left = [], _MOST_FURTHER
    for record in records:
        if record.provider == LOCAL_PROVIDER and not any(candidate.is_known(record) for candidate in candidates):
            left -= 1
            if left < 0:
                continue
        tried.append(record)
    return tried


async def _open_any(record: MasterKeyRecord, candidates: Sequence[_Candidate]) -> MasterKey | None:
    # A candidate that has opened the record goes first, so that no other candidate runs scrypt.
    for candidate in sorted(candidates, key=lambda candidate: record.key_id not in candidate.opened):
        key = await candidate.open(record)
        if key is not None:
            return key
    return None


def _refusal(active: MasterKeyRecord, candidates: list[_Candidate]) -> ConfigurationError:
    if active.provider == LOCAL_PROVIDER and any(isinstance(candidate.source, LocalSource) for candidate in candidates):
        return WrongEncryptionSecretError()
    return ConfigurationError(
        "none of the configured master keys is the active one of this database; no key and no token was written",
        code="wrong_master_key",
    )
