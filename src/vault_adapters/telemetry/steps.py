"""Measures and traces the operations of a vault."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from attrs import define, frozen
from opentelemetry.metrics import Counter, Histogram, Meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from vault_adapters.telemetry.table import (
    CAUSE,
    JOURNAL_WRITES,
    OUTCOME,
    PROVIDER,
    REFRESHES,
    REQUESTS,
    SWEEPS,
    WAITS,
    Metric,
)
from vault_domain.entities.measures import Operation

_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The boundaries of the histograms, in seconds."""

_GOOD = frozenset(
    {"done", "refreshed", "held", "claimed", "taken", "nothing_sent", "not_connected", "cancelled", "timeout"}
)
"""The outcomes that do not give an operation's span the status `ERROR`."""

_TRACED = frozenset(Operation) - {Operation.JOURNAL}


@frozen
class Instruments:
    """The instruments that record operations; all vaults that report to one meter provider share them."""

    refreshes: Counter
    requests: Histogram
    waits: Histogram
    sweeps: Histogram
    journal_writes: Counter

    @classmethod
    def of(cls, meter: Meter) -> Instruments:
        """Create the instruments."""
        return cls(
            _counter(meter, REFRESHES),
            _histogram(meter, REQUESTS),
            _histogram(meter, WAITS),
            _histogram(meter, SWEEPS),
            _counter(meter, JOURNAL_WRITES),
        )

    def record(self, operation: Operation, seconds: float, attributes: Mapping[str, str]) -> None:
        """Record an operation that has ended."""
        match operation:
            case Operation.REFRESH:
                self.refreshes.add(1, attributes)
            case Operation.EXCHANGE:
                self.requests.record(seconds, attributes)
            case Operation.ENSURE:
                self.waits.record(seconds, attributes)
            case Operation.SWEEP:
                self.sweeps.record(seconds, attributes)
            case Operation.JOURNAL if attributes.get(OUTCOME) != "no_journal":
                self.journal_writes.add(1, attributes)


@frozen
class TelemetryObserver:
    """Records the operations of a vault as measurements and spans. Implements `Observer`.

    Attributes:
        instruments: the instruments that take the measurements.
        tracer: the tracer that makes the spans; None: another observer makes them.
    """

    instruments: Instruments
    tracer: Tracer | None

    def begin(self, operation: Operation, provider: str | None) -> AbstractContextManager[_Step]:
        """See `Observer`."""
        return _Step(self, operation, {} if provider is None else {PROVIDER: provider})


@define
class _Step:
    _observer: TelemetryObserver
    _operation: Operation
    _attributes: dict[str, str]
    _began: float = 0.0
    _context: AbstractContextManager[Span] | None = None
    _span: Span | None = None

    def __enter__(self) -> Self:
        tracer = self._observer.tracer
        if tracer is not None and self._operation in _TRACED:
            is_exchange = self._operation is Operation.EXCHANGE
            self._context = tracer.start_as_current_span(
                f"token_vault.{self._operation.value}",
                kind=SpanKind.CLIENT if is_exchange else SpanKind.INTERNAL,
                attributes=dict(self._attributes),
                # An exception's text and traceback may hold a secret.
                record_exception=False,
                set_status_on_exception=False,
            )
            self._span = self._context.__enter__()
        self._began = time.perf_counter()
        return self

    def ended(self, outcome: str, cause: str | None = None) -> None:
        seconds = time.perf_counter() - self._began
        self._attributes[OUTCOME] = outcome
        if cause is not None:
            self._attributes[CAUSE] = cause
        self._observer.instruments.record(self._operation, seconds, self._attributes)
        if self._span is not None:
            self._span.set_attributes(dict(self._attributes))
            if outcome not in _GOOD:
                self._span.set_status(Status(StatusCode.ERROR))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._context is not None:
            self._context.__exit__(None, None, None)


def _counter(meter: Meter, metric: Metric) -> Counter:
    return meter.create_counter(metric.name, metric.unit, metric.description)


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    create: Callable[..., Histogram] = meter.create_histogram
    try:
        return create(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=list(_BOUNDARIES)
        )
    except TypeError:  # an older opentelemetry-api takes no boundaries
        return create(metric.name, metric.unit, metric.description)
