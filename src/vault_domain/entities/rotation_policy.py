"""How a provider treats refresh tokens, which decides what may be done when an attempt's outcome is unknown."""

from __future__ import annotations

import enum
from datetime import timedelta

from attrs import frozen

from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import as_duration

_LONGEST = 36_525 * 86_400


class RotationKind(enum.StrEnum):
    """What a refresh does to the refresh token."""

    STRICT = "strict"
    GRACE = "grace"
    NON_ROTATING = "non_rotating"


@frozen
class Rotation:
    """A provider's rotation policy; made with one of the three class methods.

    Attributes:
        kind: see `RotationKind`.
        grace: for how long after its use an old refresh token still works; zero but for GRACE.
    """

    kind: RotationKind
    grace_period: timedelta = timedelta(0)

    @classmethod
    def strict(cls) -> Rotation:
        """Each refresh token works once; presenting it again may revoke the whole family (RFC 9700, 4.14.2)."""
        return cls(RotationKind.STRICT)

    @classmethod
    @scrubbed
    def grace(cls, seconds: float | timedelta) -> Rotation:
        """A used refresh token works again for a while (Auth0's leeway, Okta's grace period)."""
        # A number beyond these limits, or none at all (NaN), is left as it is and refused below.
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds <= _LONGEST
        period = timedelta(seconds=seconds) if number else seconds  # type: ignore[arg-type]  # it is a number then
        return cls(RotationKind.GRACE, as_duration(period, "seconds", positive=True))

    @classmethod
    def non_rotating(cls) -> Rotation:
        """The credential stays the same and may be presented as often as one likes (Google, API keys)."""
        return cls(RotationKind.NON_ROTATING)
