"""One storm from its plan to its findings."""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from attrs import define, evolve, frozen
from tests.storms.collect import accounts_of, events_of, not_due, processes_of, settled_at
from tests.storms.control import Control, Phase
from tests.storms.fleet import Fleet
from tests.storms.plan import Plan
from tests.storms.weather import Weather
from tests.storms.worker import Settings, account_of, vault_of
from tests.support.fault_proxy import fault_proxy
from tests.support.history import Evidence, Finding, Limits, check
from tests.support.history.rules_ends import UNKNOWN
from tests.support.postgres import start_postgres
from tests.support.strict_provider import ANSWERED, REUSED, StrictProvider, digest, strict_provider

from vault_adapters import ConnectionState, TokenKind, TokenSet

LATENCY = 0.02


@frozen
class Outcome:
    """What a storm found, and how much happened in it."""

    plan: Plan
    findings: list[Finding]
    evidence: Evidence
    seconds: float

    def summary(self) -> str:
        """Return one line."""
        calls = sum(len(process.calls) for process in self.evidence.processes)
        refreshes = sum(each.outcome == ANSWERED for each in self.evidence.presented)
        reused = sum(each.outcome == REUSED for each in self.evidence.presented)
        counts = f"{calls} calls, {refreshes} refreshes, {reused} unavoidable or wrong reuses"
        kills = sum(each.kind == "kill" for each in self.evidence.actions)
        return f"{counts}, {len(self.evidence.actions)} faults ({kills} kills) in {self.seconds:.0f} s"


def replay_command(plan: Plan, name: str) -> str:
    """Return the command that runs the same plan again."""
    return f"python -m tests.storms --store {plan.store} --seed {plan.seed} --scale {name}"


@define
class _World:
    """The stores and servers of a storm.

    Attributes:
        store: for each worker, the settings of its store.
        direct: the settings of the same store without a proxy.
        weather: the arguments for `Weather` that depend on the store.
    """

    store: list[dict]
    direct: dict
    weather: dict


async def run_storm(plan: Plan, directory: Path, say: Callable[[str], object] = lambda line: None) -> Outcome:
    """Run a plan in an empty directory; `say` gets lines about the progress."""
    begin, salt = time.monotonic(), secrets.token_hex(8)
    with ExitStack() as stack:
        provider, url = stack.enter_context(strict_provider(salt, lifetime=plan.scale.lifetime, seed=plan.seed))
        provider.weather(latency=LATENCY)
        world = await asyncio.to_thread(_world, plan, directory, stack)
        names = [f"t{number % 3}/user-{number}" for number in range(plan.scale.accounts)]
        control = Control(directory / "control")
        settings = [_settings(plan, directory, world, worker, url, salt, names) for worker in range(plan.scale.workers)]
        own = evolve(settings[0], name="storm", store=world.direct, journal=str(directory / "journal-storm"))
        fleet = Fleet(settings, stack)
        async with vault_of(own, control) as vault:
            await _connect_all(vault, provider, names, plan.scale.lifetime)
            await asyncio.gather(*(fleet.start(worker) for worker in range(plan.scale.workers)))
            weather = Weather(plan, fleet, control, provider, vault, **world.weather)
            control.set(phase=Phase.STORM)
            start = time.time()
            say(f"{len(plan.faults)} faults in {plan.scale.seconds:g} s")
            await weather.run()
            calm = time.time()
            control.set(phase=Phase.CALM)
            say("calm")
            await _settle(plan, vault, provider, names, calm, control)
            control.set(phase=Phase.STOP)
            say("closing")
            # The limit covers the worker's wait for its last calls, and the closing of its vault.
            complaints = await fleet.end(90)
            for proxy in world.weather.get("proxies", ()):
                proxy.reset()  # ends the transactions of killed workers and of silenced connections
            await asyncio.sleep(0.5)
            say("checking")
            fleet.logs(directory)
            processes = processes_of(directory, fleet.lives)
            settled = settled_at(provider, processes, calm, plan.scale.lifetime)
            evidence = Evidence(
                limits=_limits(plan),
                issued=provider.issued,
                presented=provider.presented,
                processes=processes,
                actions=weather.actions,
                events=[event async for event in events_of(vault)],
                accounts=await accounts_of(vault, provider, names, settled, weather.erased),
                calm=calm,
                start=start,
                erased=frozenset(weather.erased),
            )
    _write_down(evidence, directory / "evidence.txt")
    findings = [*check(evidence), *(Finding("a process ends as it should", text) for text in complaints)]
    return Outcome(plan, findings, evidence, time.monotonic() - begin)


def _write_down(evidence: Evidence, path: Path) -> None:
    """Write the faults and the requests to the provider, by time; the workers' history files have the calls."""
    lines = [
        (each.begin, f"to {evidence.when(each.end)} {each.kind} {each.worker or 'all'}") for each in evidence.actions
    ]
    for seen in evidence.presented:
        whole = "" if seen.delivered else " (lost)"
        text = (
            f"{seen.sender} {seen.account} {seen.digest[:8]} {seen.outcome}{whole} at {evidence.when(seen.answer_at)}"
        )
        lines.append((seen.at, text))
    path.write_text("".join(f"{evidence.when(at):>8} {text}\n" for at, text in sorted(lines)))


def _limits(plan: Plan) -> Limits:
    scale = plan.scale
    return Limits(
        deadline=scale.deadline,
        lease=scale.lease,
        quiescence=scale.quiescence,
        settling=scale.settling,
        patient=scale.patient,
        # On Postgres, a clock that replaces the server's clock is read before the wait for a connection. That wait may
        # be long, so nobody can tell when the expiry was checked.
        expiry=None if plan.clock and plan.store == "postgres" else 1.0,
    )


def _settings(
    plan: Plan, directory: Path, world: _World, worker: int, url: str, salt: str, names: list[str]
) -> Settings:
    scale = plan.scale
    return Settings(
        name=f"w{worker}",
        directory=str(directory),
        journal=str(directory / f"journal-{worker}"),
        store=world.store[worker],
        provider=url,
        salt=salt,
        seed=plan.seed,
        accounts=names,
        deadline=scale.deadline,
        slack=scale.slack,
        commit_budget=scale.commit_budget,
        quiescence=scale.quiescence,
        clock=plan.clock,
    )


def _world(plan: Plan, directory: Path, stack: ExitStack) -> _World:
    if plan.store == "sqlite":
        path = directory / "vault.db"
        store = {"database_url": f"sqlite:///{path}"}
        return _World([store] * plan.scale.workers, store, {"sqlite_path": path})
    server = stack.enter_context(start_postgres(private=True, settings={"synchronous_commit": "on"}))
    url = server.create_database("storm")
    proxies = [stack.enter_context(fault_proxy(url)) for _ in range(plan.scale.workers)]
    pool = {"pool_size": 4}
    return _World(
        [{"database_url": proxy.url, **pool} for proxy in proxies],
        {"database_url": url, **pool},
        {"proxies": proxies, "server": server},
    )


async def _connect_all(vault, provider: StrictProvider, names: list[str], lifetime: float) -> None:
    for name in names:
        access, refresh = provider.consent(name)
        await vault.store_token_set(account_of(name), TokenSet(access, refresh, expires_in=lifetime))


async def _settle(plan: Plan, vault, provider: StrictProvider, names: list[str], calm: float, control: Control) -> None:
    """Wait until every account has got a new token or has lost its grant, or until the settling time is over."""
    left = set(names)
    while left and time.time() < calm + plan.scale.settling:
        await asyncio.sleep(0.2)
        left = {name for name in left if not await _is_settled(plan, vault, provider, name, calm, control.offset)}
    # The callers in the workers have to see the new state too.
    await asyncio.sleep(1.0)


async def _is_settled(plan: Plan, vault, provider: StrictProvider, name: str, calm: float, offset: float) -> bool:
    account = account_of(name)
    info = await vault.get_account(account)
    if info is None or info.state is ConnectionState.REAUTHORIZATION_REQUIRED:
        return True
    if not plan.scale.patient and info.reason in UNKNOWN:
        return True
    token = await vault.get_token(account.key(TokenKind.ACCESS_TOKEN))
    if token is None:
        return False
    issued = provider.issued.get(digest(provider.salt, token.value.reveal()))
    return issued is not None and (
        issued.at > calm or not_due(token.info.expires_at.timestamp(), calm + offset, plan.scale.lifetime)
    )
