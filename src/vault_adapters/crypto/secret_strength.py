"""Estimates the entropy of an encryption secret, to refuse one that is obviously not random."""

import math
from collections import Counter

from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import Secret

LEAST_BITS = 48
"""Lowest accepted estimate, in bits.

32 random hexadecimal digits have an estimate of about 115 bits, and 32 random decimal digits about 99.
"""


def refuse_weak(secret: Secret) -> None:
    """Raise an error for a secret such as 32 equal characters, or a short word that is repeated.

    The estimate finds only obvious cases, so a secret that passes may still be easy to guess.

    Raises:
        ConfigurationError: the estimate is below `LEAST_BITS`; the message does not repeat the secret.
    """
    if estimated_bits(secret) < LEAST_BITS:
        raise ConfigurationError(
            "the encryption secret is not random: it repeats a few characters. Make a new one with "
            "`token-vault generate-secret`. If the database already uses this secret, configure it as the previous "
            "secret",
            code="encryption_secret_weak",
        )


def estimated_bits(secret: Secret) -> float:
    """Return the entropy of the characters of a secret, in bits.

    If the secret is a shorter text that is repeated, only the shorter text counts. The estimate is Shannon's entropy of
    the observed frequencies, times the number of characters. It does not recognise words or sequences.
    """
    unit = secret.reveal()[: _period(secret)]
    counts = Counter(unit).values()
    return -sum(count * math.log2(count / len(unit)) for count in counts)


def _period(secret: Secret) -> int:
    """Return the length of the shortest text whose repetition gives the secret."""
    text = secret.reveal()
    # The borders are the values of the failure function of Knuth, Morris and Pratt.
    borders = [0] * len(text)
    for end in range(1, len(text)):
        border = borders[end - 1]
        while border and text[end] != text[border]:
            border = borders[border - 1]
        borders[end] = border + (text[end] == text[border])
    return len(text) - borders[-1] if text else 0
