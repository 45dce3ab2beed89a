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
    """Instrument a vault; yield a function that returns the metrics of this process, as text encoded in UTF-8.

    The function blocks, so call it on another thread. Make one call at a time, because the exporter mixes up the
    metrics of calls that run at the same time. A call returns the numbers of the last finished census, and starts a
    new census in the background, at most once a minute. The first call returns no such numbers, because no census has
    finished yet.

    Raises:
        ConfigurationError: the extra ``metrics`` is not installed, or no event loop runs in this thread.
    """
    try:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import REGISTRY, generate_latest
    except ImportError:
        raise ConfigurationError(
            "metrics need OpenTelemetry's SDK and Prometheus exporter: install token-vault[metrics]",
            code="missing_extra",
        ) from None
    provider = MeterProvider([PrometheusMetricReader(disable_target_info=True)], shutdown_on_exit=False)
    try:
        instrument(vault, meter_provider=provider)
        yield lambda: generate_latest(REGISTRY)
    finally:
        provider.shutdown()
