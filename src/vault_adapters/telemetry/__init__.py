"""Metrics and traces of a vault, through OpenTelemetry's API."""

from vault_adapters.telemetry.instrument import instrument

__all__ = ["instrument"]
