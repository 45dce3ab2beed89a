"""`instrument`: reports the operations and counts of a vault to OpenTelemetry."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from vault_adapters.sync.session import on_event_loop
from vault_adapters.sync.vault import SyncVault
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.facade.measures import VaultMeasures
from vault_domain.facade.vault import TokenVault

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from vault_adapters.telemetry.meters import Meters

_log = logging.getLogger(__name__)

_SCOPE = "token_vault"

_meters: WeakKeyDictionary[Any, Meters] = WeakKeyDictionary()
_traced: WeakKeyDictionary[Any, list[VaultMeasures]] = WeakKeyDictionary()
"""For each tracer provider, the open vaults whose spans it gets."""
_lock = threading.Lock()


def instrument(
    vault: TokenVault | SyncVault,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> None:
    """Report a vault's metrics, and the spans of its refreshes, to OpenTelemetry until the vault is closed.

    No tenant, identifier or token is in any attribute. The page about metrics lists all metrics and spans. Counts of
    accounts and tokens come from a census of the database. A read of the metrics gets the numbers of the previous
    census, and starts a new one in the background, at most once a minute.

    Args:
        vault: an open `TokenVault`, or a `SyncVault`, open or not. All views of a vault (`with_actor`) count as the
            same vault. A second call for a vault with the same meter provider only logs a warning. With another meter
            provider, it reports the metrics there too. A tracer provider gets each span only once, even after several
            calls.
        meter_provider: takes the metrics; None: the global one.
        tracer_provider: takes the spans; None: the global one.

    Raises:
        ConfigurationError: the extra ``otel`` is not installed, or ``vault`` is a `TokenVault` and no event loop runs
            in this thread.
        InvalidInputError: ``vault`` is neither a `TokenVault` nor a `SyncVault`.
    """
    with _otel_extra():
        from opentelemetry.metrics import get_meter_provider
        from opentelemetry.trace import get_tracer_provider

        meters = _meters_of(meter_provider or get_meter_provider())
        tracers = tracer_provider or get_tracer_provider()

    def begin(measures: VaultMeasures) -> None:
        from vault_adapters.telemetry.steps import TelemetryObserver

        if meters.add(measures, asyncio.get_running_loop()):
            tracer = tracers.get_tracer(_SCOPE, _version()) if _is_first(measures, tracers) else None
            measures.observe(TelemetryObserver(meters.instruments, tracer))
        else:
            _log.warning("this vault already reports to this meter provider")

    if isinstance(vault, SyncVault):
        vault.measures.when_open(begin)
    elif not isinstance(vault, TokenVault):
        raise InvalidInputError("vault must be a TokenVault or a SyncVault")
    elif not on_event_loop():
        raise ConfigurationError("call instrument on the vault's event loop", code="no_event_loop")
    else:
        begin(vault.measures)


def _meters_of(provider: MeterProvider) -> Meters:
    from vault_adapters.telemetry.meters import Meters

    with _lock:
        if provider not in _meters:
            _meters[provider] = Meters(provider.get_meter(_SCOPE, _version()))
        return _meters[provider]


def _is_first(measures: VaultMeasures, tracers: TracerProvider) -> bool:
    """Record that a tracer provider gets a vault's spans; return False if that was recorded already."""
    with _lock:
        known = [each for each in _traced.get(tracers, ()) if not each.is_closed]
        is_first = measures not in known
        _traced[tracers] = [*known, measures] if is_first else known
        return is_first


def _version() -> str | None:
    try:
        return metadata.version("token-vault")
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def _otel_extra() -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise ConfigurationError(
            "telemetry needs opentelemetry-api: install token-vault[otel]", code="missing_extra"
        ) from None
