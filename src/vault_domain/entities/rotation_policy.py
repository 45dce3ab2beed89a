"""What a provider does to tokens: the rotation policy of refreshes, and the scope of revocations."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from vault_domain.entities.choice import Choice
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import as_duration

_LONGEST = 36_525 * 86_400


class RevocationScope(Choice):
    """What a provider revokes when it is asked to revoke one token."""

    GRANT = "grant"
    USER_AND_CLIENT = "user_and_client"


class RotationKind(Choice):
    """The effect of a refresh on the refresh token."""

    STRICT = "strict"
    GRACE = "grace"
    NON_ROTATING = "non_rotating"


@frozen
class Rotation:
    """A provider's rotation policy; each of the three class methods makes one.

    Attributes:
        kind: see `RotationKind`.
        grace_period: time during which a refresh token still works after its first use; zero unless GRACE.
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
        """A used refresh token keeps working for a limited time (Auth0's leeway, Okta's grace period)."""
        # Convert only a number from 0 to `_LONGEST`. `as_duration` takes only a timedelta, so it refuses any
        # other number, such as NaN.
        number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds <= _LONGEST
        period = timedelta(seconds=seconds) if number else seconds  # type: ignore[arg-type]  # checked by `number`
        return cls(RotationKind.GRACE, as_duration(period, "seconds", positive=True))

    @classmethod
    def non_rotating(cls) -> Rotation:
        """The credential stays the same and may be presented any number of times (Google, API keys)."""
        return cls(RotationKind.NON_ROTATING)
