"""The metrics of a vault in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vault_adapters.telemetry.instrument import instrument
from vault_domain.entities.errors import ConfigurationError
from vault_domain.facade.vault import TokenVault

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def prometheus_metrics(vault: TokenVault) -> Iterator[Callable[[], bytes]]:
    """Instrument a vault; yield the function that returns the metrics of this process as text.

    The function may take a while, so call it on a thread. Its first call starts a census; later calls have the numbers.

    Raises:
        ConfigurationError: the extra ``metrics`` is not installed.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import REGISTRY, generate_latest
    except ImportError:
        raise ConfigurationError(
            "metrics need the SDK of OpenTelemetry and its exporter: install token-vault[metrics]", code="missing_extra"
        ) from None
    provider = MeterProvider([PrometheusMetricReader(disable_target_info=True)], shutdown_on_exit=False)
    try:
        instrument(vault, meter_provider=provider)
        yield lambda: generate_latest(REGISTRY)
    finally:
        provider.shutdown()
