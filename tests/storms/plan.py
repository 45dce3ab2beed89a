"""What happens in a storm: the same seed gives the same plan.

Each lane is a sequence of its own, and the lanes mix: a process is stopped while another one is killed, the network is
cut and a disk is full.
"""

import random
from collections.abc import Iterator

from attrs import frozen

LINK = ("freeze", "silence", "reset", "slow", "refuse", "restart")
PROVIDER = ("slow", "rst_after", "fin_after", "no_last_chunk", "wrong_length", "cut", "lost", "unavailable", "failing")


@frozen(kw_only=True)
class Scale:
    """How large a storm is; times are in seconds.

    `settling` is the time after the last fault within which everything must work again. It includes a lease and a
    quiescence if `patient`; a storm that is not patient leaves accounts whose outcome is unknown as they are.
    """

    seconds: float
    workers: int
    accounts: int
    deadline: float
    slack: float
    commit_budget: float
    quiescence: float
    settling: float
    patient: bool
    gap: float
    longest: float
    lifetime: float
    """For so long the provider's access tokens are good."""

    @property
    def lease(self) -> float:
        """The lease that the vaults take."""
        return self.deadline + self.slack + self.commit_budget


FULL = Scale(
    seconds=85.0,
    workers=3,
    accounts=12,
    deadline=3.0,
    slack=2.0,
    commit_budget=5.0,
    quiescence=10.0,
    settling=30.0,
    patient=True,
    gap=5.0,
    longest=8.0,
    lifetime=4.0,
)
SHORT = Scale(
    seconds=3.5,
    workers=2,
    accounts=6,
    deadline=1.5,
    slack=1.0,
    commit_budget=2.0,
    quiescence=8.0,
    settling=8.0,
    patient=False,
    gap=0.7,
    longest=1.2,
    lifetime=2.0,
)


@frozen(kw_only=True, order=True)
class Fault:
    """One fault: when it begins and how long it lasts, from the start of the storm, and whom it hits (None: all)."""

    at: float
    seconds: float
    kind: str
    worker: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        whom = "all" if self.worker is None else f"w{self.worker}"
        return f"{self.at:7.2f} s  {self.kind:9} {whom:4} {self.seconds:5.2f} s  {self.detail}".rstrip()


@frozen
class Plan:
    """The faults of one storm, in the order of their beginnings.

    `clock` tells whether the vaults are given a clock that is stepped; without it they go by the database's time.
    """

    store: str
    seed: int
    scale: Scale
    clock: bool
    faults: tuple[Fault, ...]


def plan_of(store: str, seed: int, scale: Scale = FULL) -> Plan:
    """Return the plan of a seed."""
    choose = random.Random(f"{store} {seed}")
    clock = choose.random() < 0.3
    lanes = [_processes(choose, scale, worker) for worker in range(scale.workers)]
    lanes += [_disks(choose, scale), _provider(choose, scale), _operators(choose, scale)]
    lanes.append(_network(choose, scale) if store == "postgres" else _locks(choose, scale))
    if clock:
        lanes.append(_clock(choose, scale, store))
    faults = sorted(fault for lane in lanes for fault in lane if fault.at + fault.seconds <= scale.seconds)
    return Plan(store, seed, scale, clock, tuple(faults))


def _times(choose: random.Random, scale: Scale, gap: float = 1.0) -> Iterator[tuple[float, float]]:
    """Give beginnings and durations, one after the other; one in twelve lasts longer than a lease."""
    at = choose.uniform(0, scale.gap * gap)
    while at < scale.seconds:
        seconds = choose.uniform(0.1, 1.0) ** 2 * scale.longest
        if choose.random() < 1 / 12:
            seconds = scale.lease + choose.uniform(0, scale.quiescence + scale.longest)
        yield round(at, 2), round(seconds, 2)
        # What starts a killed process or server again takes time too.
        at += seconds + 0.5 + choose.expovariate(1 / (scale.gap * gap))


def _processes(choose: random.Random, scale: Scale, worker: int) -> Iterator[Fault]:
    for at, seconds in _times(choose, scale, 2.0):
        if choose.random() < 0.4:
            # How long it stays away; its start takes a second or two more.
            yield Fault(at=at, seconds=round(min(seconds, choose.uniform(0, 1.0)), 2), kind="kill", worker=worker)
        else:
            yield Fault(at=at, seconds=seconds, kind="stop", worker=worker)


def _disks(choose: random.Random, scale: Scale) -> Iterator[Fault]:
    for at, seconds in _times(choose, scale, 2.5):
        yield Fault(at=at, seconds=min(seconds, scale.longest), kind="full", worker=choose.randrange(scale.workers))


def _provider(choose: random.Random, scale: Scale) -> Iterator[Fault]:
    for at, seconds in _times(choose, scale):
        yield Fault(at=at, seconds=min(seconds, scale.longest), kind="provider", detail=choose.choice(PROVIDER))


def _operators(choose: random.Random, scale: Scale) -> Iterator[Fault]:
    for at, _ in _times(choose, scale, 1.5):
        if choose.random() < 0.75:
            yield Fault(at=at, seconds=0, kind="rotate", detail=choose.choice(["t0", "t1", "t2"]))
        else:
            yield Fault(at=at, seconds=0, kind="erase", detail="t2")


def _network(choose: random.Random, scale: Scale) -> Iterator[Fault]:
    for at, seconds in _times(choose, scale):
        kind = choose.choice(LINK)
        worker = None if kind == "restart" or choose.random() < 0.4 else choose.randrange(scale.workers)
        detail = choose.choice(["fast", "immediate"]) if kind == "restart" else ""
        lasts = 0.0 if kind in ("silence", "reset") else seconds
        yield Fault(at=at, seconds=lasts, kind=kind, worker=worker, detail=detail)


def _locks(choose: random.Random, scale: Scale) -> Iterator[Fault]:
    for at, seconds in _times(choose, scale):
        yield Fault(at=at, seconds=seconds, kind="lock")


def _clock(choose: random.Random, scale: Scale, store: str) -> Iterator[Fault]:
    """Step the clock.

    On Postgres, a large step forward during a request may let another process present the refresh token, as decision
    0035 says. So there it is only set back.
    """
    steps = [-5, -100, -7200] if store == "postgres" else [100, 100, -100, -7200, 5, -5]
    for at, _ in _times(choose, scale, 2.0):
        step = choose.choice(steps)
        yield Fault(at=at, seconds=0, kind="clock", detail=f"{step:+} s")
