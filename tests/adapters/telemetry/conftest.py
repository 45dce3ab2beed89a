from contextlib import asynccontextmanager

import pytest
from attrs import define
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.databases import PostgresSchema, SqliteFile

from vault_adapters import open_vault
from vault_adapters.telemetry import instrument
from vault_adapters.testing import ManualClock


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def telemetry_database(postgres):
    return postgres.create_database("telemetry_tests")


@pytest.fixture
def database(request, store_kind, tmp_path):
    if store_kind == "sqlite":
        yield SqliteFile(tmp_path / "vault.db")
        return
    schema = PostgresSchema(request.getfixturevalue("telemetry_database"))
    yield schema
    schema.drop()


@define
class Sdk:
    """The SDK with its exporters in memory."""

    reader: InMemoryMetricReader
    meters: MeterProvider
    exporter: InMemorySpanExporter
    tracers: TracerProvider

    def instrument(self, vault):
        instrument(vault, meter_provider=self.meters, tracer_provider=self.tracers)

    def metrics(self):
        """Return a list for each metric name; each item is a pair of a point's attributes and the point itself."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = [(dict(point.attributes), point) for point in metric.data.data_points]
        return found

    def value(self, name, **attributes):
        """Return the sum of those points of a metric that have these attributes.

        Each attribute is given by the last part of its name.
        """
        total = None
        for found, point in self.metrics().get(name, ()):
            short = {key.rpartition(".")[2]: value for key, value in found.items()}
            if attributes.items() <= short.items():
                total = (total or 0) + (point.value if hasattr(point, "value") else point.count)
        return total

    def spans(self):
        """Return the spans so far, by name."""
        found = {}
        for span in self.exporter.get_finished_spans():
            found.setdefault(span.name, []).append(span)
        return found


@pytest.fixture
def sdk():
    reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    yield Sdk(reader, meters, exporter, tracers)
    meters.shutdown()
    tracers.shutdown()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def opening(database, clock, sdk):
    """Give a function that opens an instrumented vault."""

    @asynccontextmanager
    async def opened(refresher=None, **settings):
        refreshers = {} if refresher is None else {"acme": refresher}
        async with open_vault(database.config(**settings), refreshers=refreshers, clock=clock) as vault:
            sdk.instrument(vault)
            yield vault

    return opened
