"""CRC-32C (Castagnoli, RFC 3720), the checksum of Google Cloud KMS; for the few bytes of a data key."""

from functools import cache

_POLYNOMIAL = 0x82F63B78


@cache
def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)  # noqa: PLW2901
        entries.append(byte)
    return tuple(entries)


def crc32c(content: bytes) -> int:
    """Return the checksum of some bytes."""
    table, state = _table(), 0xFFFFFFFF
    for byte in content:
        state = state >> 8 ^ table[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF
