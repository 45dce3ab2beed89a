"""Reports the counts of all instrumented vaults of a process whenever a meter provider collects its metrics."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vault_adapters.telemetry.steps import Instruments
from vault_adapters.telemetry.surveys import Surveyor
from vault_adapters.telemetry.table import CENSUS_AGE, COUNTED, SURVEYED, Kind, Metric, Points
from vault_domain.entities.measures import Census, VaultCounts
from vault_domain.facade.measures import VaultMeasures

_Sums = dict[tuple[tuple[str, str], ...], float]


class Meters:
    """The instruments of one meter provider; all vaults that report to it share them.

    The counts of several vaults are added up. The census is that of the open vault that was instrumented last.

    Args:
        meter: creates the instruments.
    """

    def __init__(self, meter: Meter) -> None:
        self.instruments = Instruments.of(meter)
        self._lock = threading.Lock()
        self._vaults: list[tuple[VaultMeasures, Surveyor]] = []
        self._retired: defaultdict[Metric, _Sums] = defaultdict(dict)
        for metric, points in COUNTED.items():
            _create(meter, metric, self._counted(metric, points))
        for metric, surveyed in SURVEYED.items():
            _create(meter, metric, self._surveyed(surveyed))
        _create(meter, CENSUS_AGE, self._age)

    def add(self, measures: VaultMeasures, loop: asyncio.AbstractEventLoop) -> bool:
        """Report the counts of one more vault; return False if its counts are reported already."""
        with self._lock:
            self._retire_closed()
            if any(measures == known for known, _ in self._vaults):
                return False
            self._vaults.append((measures, Surveyor(measures, loop)))
            return True

    def _counted(
        self, metric: Metric, points: Callable[[VaultCounts], Points]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            with self._lock:
                self._retire_closed()
                sums = dict(self._retired[metric])
                for vault, _surveyor in self._vaults:
                    _add(sums, points(vault.counts()))
            return [Observation(value, dict(attributes)) for attributes, value in sums.items()]

        return observe

    def _surveyed(self, points: Callable[[Census], Points]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            latest = self._latest()
            found = () if latest is None else points(latest[0])
            return [Observation(value, dict(attributes)) for value, attributes in found]

        return observe

    def _age(self, _: CallbackOptions) -> Iterable[Observation]:
        latest = self._latest()
        return [] if latest is None else [Observation(latest[1])]

    def _latest(self) -> tuple[Census, float] | None:
        with self._lock:
            self._retire_closed()
            return self._vaults[-1][1].latest() if self._vaults else None

    def _retire_closed(self) -> None:
        """Drop the vaults that were closed; keep the values of their counters, because a counter must never go down."""
        closed = [vault for vault, _ in self._vaults if vault.is_closed]
        self._vaults = [each for each in self._vaults if not each[0].is_closed]
        for vault in closed:
            counts = vault.counts()
            for metric, points in COUNTED.items():
                if metric.kind is Kind.COUNTER:
                    _add(self._retired[metric], points(counts))


def _add(sums: _Sums, points: Points) -> None:
    for value, attributes in points:
        key = tuple(sorted(attributes.items()))
        sums[key] = sums.get(key, 0) + value


def _create(meter: Meter, metric: Metric, callback: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
    create = meter.create_observable_counter if metric.kind is Kind.COUNTER else meter.create_observable_gauge
    create(metric.name, [callback], metric.unit, metric.description)
