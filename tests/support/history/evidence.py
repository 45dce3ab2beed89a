"""The records of a run: calls of processes, faults, the provider's requests and tokens, and the stored state.

All times are `time.time` of one machine in seconds, unless they say that they go by the vault's clock, which a run may
step. A value is known by its digest only.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import Factory, define, frozen
from tests.support.strict_provider import Issued, Presented

READS: Final = ("ensure", "get_access", "get_token", "refresh")
USABLE: Final = ("ensure", "get_access", "refresh")
"""Calls that promise a token that may be used now."""


@frozen
class Call:
    """One call and its result.

    Attributes:
        op: `ensure`, `get_access`, `get_token`, `refresh`, `store`, `sweep` or another name.
        account: the account, as `tenant/identifier`.
        begin: time of the call.
        end: time of the return.
        value: digest of the returned value, or None.
        token_id: id of the returned token.
        generation: its generation; 0 while its answer waits for the database.
        value_id: its value id, or None if it was not recorded.
        expires_at: its expiry by the clock of the vault.
        offset: seconds by which the vault's clock is ahead of the machine's when the call begins.
        error: the error's code, or None.
        limit: the `timeout` argument, or None.
        stepped: whether the clock was stepped during the call.
    """

    op: str
    account: str
    begin: float
    end: float
    value: str | None = None
    token_id: str | None = None
    generation: int | None = None
    expires_at: float | None = None
    error: str | None = None
    limit: float | None = None
    offset: float = 0.0
    stepped: bool = False
    value_id: str | None = None


@frozen
class Sample:
    """What a process uses: bytes of memory, open descriptors, and tasks besides those that call the vault."""

    at: float
    memory: int
    descriptors: int
    tasks: int


@define
class Process:
    """One process from its start to its end; `name` is what its requests to the provider carry as `sender`.

    Attributes:
        name: such as `w1.0`: the first process of the second worker. `w1.1` has the same journal.
        started: time at which its program ran.
        opened: time at which its vault was open, or None.
        ended: time of its end.
        killed: whether it was killed.
        calls: its calls that returned.
        begun: `op`, account and time of the writes that it began, whether they returned or not.
        hung: calls that had not returned when the run was over.
        samples: what it held, in the order of time.
    """

    name: str
    started: float
    opened: float | None = None
    ended: float = float("inf")
    killed: bool = False
    calls: list[Call] = Factory(list)
    begun: list[tuple[str, str, float]] = Factory(list)
    hung: list[tuple[str, str, float]] = Factory(list)
    samples: list[Sample] = Factory(list)

    @property
    def worker(self) -> str:
        """The name that a process and its successors share."""
        return self.name.partition(".")[0]


@frozen
class Action:
    """Something that was done to a worker, or to all of them (`worker` is None), from `begin` to `end`."""

    kind: str
    begin: float
    end: float
    worker: str | None = None


@frozen
class Event:
    """An audit event about a token."""

    account: str
    kind: str
    action: str
    generation: int | None
    at: float = 0.0
    """By the vault's clock."""


@frozen
class Account:
    """An account as the vault shows it at the end; `generations` has one for each kind of token.

    Attributes:
        live: whether the provider would take the stored refresh token.
        revoked: whether the provider has revoked that token's family.
        settled: time at which a process got a token that was issued after the last fault, or was told to have the user
            connect the account again; None if neither happened.
    """

    name: str
    state: str
    reason: str | None
    live: bool
    revoked: bool
    generations: Mapping[str, int]
    settled: float | None


@frozen
class Limits:
    """What the vaults were configured with, and what they are allowed, in seconds."""

    deadline: float = 3.0
    lease: float = 10.0
    quiescence: float = 10.0
    recovery: float = 6.0
    """A process that has an answer must have stored it once it could reach the database for this many seconds."""
    journaling: float = 1.0
    """After so long, an answer that arrived must survive the end of its process."""
    answer: float = 2.0
    """A call may return up to this many seconds after its `timeout`, because the machine may be busy."""
    hanging: float = 40.0
    """No call without a `timeout` may take longer."""
    expiry: float | None = 1.0
    """A returned value may have expired up to this many seconds before the call returned.

    None: this is not checked, because nobody can tell when the vault compared the expiry with the clock.
    """
    settling: float = 30.0
    patient: bool = True
    """Whether the run waits until even an account whose outcome is unknown may be refreshed."""
    descriptors: int = 12
    tasks: int = 12
    memory: int = 64 * 1024 * 1024


@frozen
class Evidence:
    """All of one run; `calm` is the time at which the last fault ended."""

    limits: Limits
    issued: Mapping[str, Issued]
    presented: Sequence[Presented]
    processes: Sequence[Process]
    actions: Sequence[Action]
    events: Sequence[Event]
    accounts: Sequence[Account]
    calm: float
    start: float = 0.0
    erased: frozenset[str] = frozenset()
    """Tenants that were erased at least once; their events before the erasure no longer name an account."""

    def when(self, at: float) -> str:
        """Return a time as seconds from the start of the run."""
        return f"{at - self.start:.2f}"


@frozen
class Finding:
    """A broken rule, and a text that says where it was broken."""

    rule: str
    text: str
