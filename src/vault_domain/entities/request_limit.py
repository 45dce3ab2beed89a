"""`RequestLimit`: how many token requests a provider accepts within a time."""

from __future__ import annotations

import math
from datetime import timedelta

from attrs import field, frozen

from vault_domain.entities.choice import Choice
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.text import as_count, as_duration

_MOST = 1_000_000
_MARGIN = 1.05  # requests reach the provider after different delays


class Counted(Choice):
    """Whose requests a provider counts together."""

    CLIENT = "client"
    ACCOUNT = "account"


def _as_requests(value: object) -> int:
    return as_count(value, "requests", least=1, most=_MOST)


def _as_per(value: object) -> timedelta:
    return as_duration(value, "per", positive=True)


@scrubbed_class
@frozen
class RequestLimit:
    """A limit of token requests; all processes together stay within it.

    Args:
        requests: the number of requests that the provider accepts within ``per``.
        per: the period of the limit.
        counted: a `Counted` or its text. ``client``: the provider counts the requests of a client for all of its
            accounts together; ``account``: it counts the requests of each account separately.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    requests: int = field(converter=_as_requests)
    per: timedelta = field(converter=_as_per)
    counted: Counted = field(default=Counted.CLIENT, converter=Counted)

    @property
    def burst(self) -> int:
        """The number of requests that may follow each other without a wait: a quarter of `requests`, but at least 1."""
        return max(1, self.requests // 4)

    @property
    def interval(self) -> timedelta:
        """The time after which one more request is allowed.

        It is so long that no period of ``per`` has more than ``requests`` requests. Of ``requests`` + 1 requests, the
        first ``burst`` may leave at once. Each later request leaves one interval after the previous request. So all of
        them take at least ``requests`` + 1 - ``burst`` intervals, and these intervals together are longer than ``per``.
        """
        return self._part(self.requests + 1 - self.burst)

    @property
    def spacing(self) -> timedelta:
        """The least time between two requests for one account; zero unless the provider counts by account."""
        return self._part(self.requests) if self.counted is Counted.ACCOUNT else timedelta(0)

    def _part(self, parts: int) -> timedelta:
        """Return ``per`` with the margin, divided by ``parts`` and rounded up to microseconds."""
        return timedelta(microseconds=math.ceil(_MARGIN * (self.per / timedelta.resolution) / parts))
