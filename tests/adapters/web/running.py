"""Runs a dashboard over a sample vault in a thread, for a real browser; and gives it a day of history."""

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.adapters.web import sample

from vault_adapters import Account
from vault_adapters.testing import ManualClock, memory_vault
from vault_adapters.web import dashboard

PREFIX = "/ops/vault"


class Connections:
    """Begins connections as a connector does."""

    url = "https://accounts.example/authorize?state=s"

    async def begin(self, tenant_id, provider, *, session, account):
        return self


async def live_a_day(vault, clock):
    """Refresh accounts of the sample for a day, so that the chart shows numbers that change from hour to hour."""
    for hour in range(24, 0, -1):
        clock.set(datetime.now(UTC) - timedelta(hours=hour))
        for number in range(2 + (hour * 7) % 9):
            tenant = sample.TENANTS[number % 12]
            account = Account(tenant, "google", f"owner{number % 12}@example.com")
            if hour == 24 or await vault.get_account(account) is None:
                await vault.store_token_set(account, sample.token_set(number))
            else:
                await vault.with_actor("worker").refresh_account(account)
    clock.set(datetime.now(UTC))


@contextmanager
def running_dashboard(*, longest=False, **options):
    """Give the address of a dashboard; ``longest`` adds an account with the longest texts."""
    ready, ended = threading.Event(), threading.Event()
    told = {}

    async def main():
        clock = ManualClock(datetime.now(UTC))
        async with memory_vault(refreshers=sample.refreshers(), clock=clock) as vault:
            await live_a_day(vault, clock)
            await sample.fill(vault)
            if longest:
                await sample.add_the_longest(vault)
            app = Starlette(routes=[Mount(PREFIX, dashboard(vault, connector=Connections(), **options))])
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            told["port"] = server.servers[0].sockets[0].getsockname()[1]
            ready.set()
            await asyncio.to_thread(ended.wait)
            server.should_exit = True
            await serving

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(120)
        yield f"http://127.0.0.1:{told['port']}{PREFIX}"
    finally:
        ended.set()
        thread.join(30)
