"""Makes the counts of keys from the groups that a store counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vault_domain.entities.key_records import DataKeyRecord, DataKeyState
from vault_domain.ports.keys import KeyCounts
from vault_domain.rules.key_states import confirmed_data_key, is_resurrected


def counted(
    groups: Iterable[tuple[Any, ...]], wraps: Iterable[tuple[Any, ...]], tokens: int, old: tuple[int, int]
) -> KeyCounts:
    """Return the counts of keys.

    Args:
        groups: numbers of data keys, each with a state, and the action of the event that confirms it or None. Groups of
            damaged states are left out.
        wraps: for each master key, the number of data keys that it wraps.
        tokens: number of tokens to encrypt again.
        old: numbers of data keys to rotate, and of tokens under them.
    """
    states = dict.fromkeys(DataKeyState, 0)
    resurrected = 0
    for name, action, count in groups:
        if name not in set(DataKeyState):
            continue
        state = DataKeyState(name)
        states[state] += count
        resurrected += count * is_resurrected(DataKeyRecord("", b"", state, confirmed=confirmed_data_key(action)))
    active, decrypt_only, destroyed = (states[state] for state in DataKeyState)
    return KeyCounts(
        {bytes(key_id): count for key_id, count in wraps},
        active,
        decrypt_only,
        destroyed,
        tokens,
        resurrected,
        *old,
    )
