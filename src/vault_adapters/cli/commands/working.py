"""`worker`: refreshes due accounts until it is stopped, and serves metrics and probes."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

from attrs import asdict
from cyclopts import Parameter

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.inputs import as_duration
from vault_adapters.cli.parameters import Limit
from vault_adapters.cli.refreshers import Refreshers, load_refreshers
from vault_adapters.cli.session import show_logs, with_vault
from vault_adapters.cli.worker_logs import WorkerLog
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.runtime.probes import Answer, serving
from vault_adapters.runtime.worker import RefreshWorker, describe
from vault_domain import ConfigurationError, InvalidInputError, SweepReport, TokenVault

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})\Z", re.ASCII)


def worker(
    *,
    refreshers: Refreshers = None,
    interval: Annotated[str, Parameter(help="Average time from the end of a sweep to the next one.")] = "1m",
    limit: Limit = None,
    once: Annotated[bool, Parameter(help="Sweep once and end.", show_default=False)] = False,
    listen: Annotated[
        str | None,
        Parameter(help="HOST:PORT at which /metrics, /healthz and /readyz are served; by default, nothing is served."),
    ] = None,
    json_logs: Annotated[bool, Parameter(help="Write each line as a JSON object.", show_default=False)] = False,
) -> ExitCode:
    """Refresh due accounts at an interval until SIGTERM or Ctrl-C.

    It prints one line per sweep. Any number of workers may run.
    """
    pause, log = as_duration(interval, "--interval"), WorkerLog(as_json=json_logs)
    address = None if listen is None else as_address(listen)
    if once and address is not None:
        raise InvalidInputError("--listen and --once exclude each other")

    def note(report: SweepReport) -> None:
        log.say("sweep", describe(report), **asdict(report))

    async def work(vault: TokenVault) -> None:
        named = vault.with_actor("worker")
        if once:
            note(await named.refresh_due(limit=limit))
            return
        async with _endpoints(named, address) as port:
            where = "" if port is None else f", metrics and probes at port {port}"
            seconds = pause.total_seconds()
            log.say("started", f"worker started: a sweep every {seconds:g} s{where}", interval=seconds, port=port)
            await RefreshWorker(named, interval=pause, limit=limit, on_sweep=note).run()
        log.say("stopped", "worker stopped")

    try:
        handler = log.handler()  # before the refreshers' module is imported, because that module may log
        show_logs(handler)  # reading the configuration may warn, too
        with_vault(work, VaultConfig.from_env(), refreshers=load_refreshers(refreshers), logs=handler)
    except Exception as error:  # with --json-logs, the error line is JSON, too, because a log collector reads it
        return log.failed(error)
    return ExitCode.OK


def as_address(text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        InvalidInputError: the text is not ``HOST:PORT``, or the port is too large.
    """
    match = _ADDRESS.match(text)
    if match is None or int(match[3]) > 65535:
        raise InvalidInputError("--listen must be HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464")
    return match[1] or match[2], int(match[3])


@asynccontextmanager
async def _endpoints(vault: TokenVault, address: tuple[str, int] | None) -> AsyncIterator[int | None]:
    """Serve metrics and probes, and yield the port; without an address, serve nothing and yield None."""
    if address is None:
        yield None
        return
    from vault_adapters.telemetry.prometheus import CONTENT_TYPE, prometheus_metrics

    async def ready() -> Answer:
        found = await vault.ready()
        causes = asdict(found)
        lines = [f"{name}: {cause}\n" for name, cause in causes.items() if cause is not None]
        return Answer("".join(lines).encode() or b"ready\n", 200 if found.ok else 503)

    async def alive() -> Answer:
        return Answer(b"ok\n")

    async with AsyncExitStack() as stack:
        read = stack.enter_context(prometheus_metrics(vault))
        await asyncio.to_thread(read)  # starts a census, so that the first request gets the counts

        one_by_one = asyncio.Lock()  # the exporter mixes up the metrics of requests that run at the same time

        async def metrics() -> Answer:
            async with one_by_one:
                return Answer(await asyncio.to_thread(read), content_type=CONTENT_TYPE)

        routes = {"/metrics": metrics, "/healthz": alive, "/readyz": ready}
        refusal: ConfigurationError | None = None
        try:
            port = await stack.enter_async_context(serving(*address, routes))
        except OSError as error:
            refusal = _refusal(error)
        if refusal is not None:
            raise refusal
        yield port


def _refusal(error: OSError) -> ConfigurationError:
    code = errno.errorcode.get(error.errno or 0, "unknown host")
    return ConfigurationError(f"--listen names an address that cannot be used ({code})")
