"""Judges what vaults do: compares it with what the provider knows about grants and tokens."""

import asyncio

from tests.simulation.loop import PROCESS, Life
from tests.simulation.measures import POLICY_SECONDS, RETURN_SECONDS, connect_again_later, was_out_of_reach
from tests.simulation.provider import MOST_PER_HOUR, lost_with_its_process

from vault_adapters import (
    ConnectionState,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    TokenNotFoundError,
    VaultError,
)
from vault_domain.entities.clients import CLIENT_MISMATCH, INVALID_CLIENT, MASS_REJECTION

HANGS = 200.0
"""Seconds that no call of a caller may take."""

_WRITING = 1.0
"""Seconds that a write to the journal may take."""

_AFTERWARDS = 15.0
"""Seconds that a process needs to store an answer once it can."""

_OPEN, _DRAINED = 20.0, 15.0
"""Seconds for which a request may be open when its vault closes, and seconds for which the vault then waits for it."""

_IN_FLIGHT = 2.0
"""Seconds within which the answer of a refresh is expected to be stored."""

SHOWN_AFTER = 5 * 86_400.0
"""Seconds after which a dead grant must be shown as one, once its access token has expired."""


LONGEST_REFUSAL, _RETRY = 900.0, 30.0
"""Seconds for which an account may be refused because the provider rejects most others; seconds between two tries."""

LONGEST_WAIT = 2 * 86_400.0
"""Seconds for which an account may wait for its next attempt after a refusal; a person who asks ends the wait."""

RULES = (
    *("reuse", "condemned", "stuck", "dead token", "not shown", "lapsed", "neighbour", "rejected again", "dying token"),
    *("expired token", "wrong token", "load", "impatient", "hang", "not found", "bare error", "crash", "not serving"),
)
"""The names of the rules; docs/explanation/no-false-reconnects.md says what they mean."""


class Oracle:
    """Collects violations."""

    def __init__(self, world):
        self._world = world
        self.violations = world.violations
        self._refused_since = {}

    def violated(self, rule, text):
        """Note a violation."""
        assert rule in RULES
        self._world.history.add("ORACLE", f"{rule}: {text}")
        self.violations.append(f"{rule}: {text}")

    def on_death(self, grant):
        """Let a grant's end be counted."""
        self._world.measures.on_death(grant)

    # Answers that nobody could have kept

    def on_end(self, host, process, *, is_closed=False):
        """Excuse the answers that a process could not make durable before it ended or was killed.

        A process that closed its vault has waited for the answers that were to come soon.
        """
        now, disk, link = self._world.loop.time(), host.disk, host.link
        never = float("inf")
        journal = disk.full_since - _WRITING if disk.is_full and disk.full_since is not None else never
        database = cut_since(link, now)
        for grant in self._world.provider.grants:
            exchange = grant.last
            if exchange is None or exchange.lost is not None or exchange.process is not process:
                continue
            if is_closed and exchange.delivered is None and _is_awaited(exchange, process.stopping_at):
                continue
            if never_read(process, exchange.delivered, now) or lost_with_its_process(exchange, now, journal, database):
                exchange.lost = "its process was killed before it could store the answer"

    def on_disk_lost(self, host):
        """Excuse the answers that were in a journal only."""
        for grant in self._world.provider.grants:
            if grant.last is not None and grant.last.process in self._world.processes_of(host):
                grant.last.lost = grant.last.lost or "its host was lost"

    def is_out_of_reach(self, exchange, reader):
        """Return whether the holder of an answer could not store it before other processes stopped waiting for it.

        A step of the database's clock ends the wait early for a ``reader`` who has not seen the clock before the step.
        """
        now = self._world.loop.time()
        if reader is not None and exchange.at - _IN_FLIGHT < self._world.stepped_at <= reader.first_read_at:
            return True
        if now - exchange.at < POLICY_SECONDS:
            return False
        process, host = exchange.process, self._host_of(exchange)
        if host.process is not process:
            return host.vault is None or now - host.opened_at < _AFTERWARDS
        if process.life is Life.FROZEN or now - process.thawed_at < _AFTERWARDS:
            return True
        link = host.link
        return bool(link.is_broken or link.lost or link.slow > 1.0) or now - link.broken_since < _AFTERWARDS

    def was_out_of_reach(self, exchange):
        """Return whether the holder of an answer has been stopped or cut off ever since the answer came.

        It returns False as long as others must wait for the answer. It is stricter than `is_out_of_reach`, because it
        decides which grants no-false-reconnects.md calls unavoidable.
        """
        process, link = exchange.process, self._host_of(exchange).link
        last_stop = None if process.life is Life.DEAD else process.last_stop
        return was_out_of_reach(exchange, self._world.loop.time(), last_stop, link.last_cut)

    def _host_of(self, exchange):
        return next(host for host in self._world.hosts if exchange.process in self._world.processes_of(host))

    # Callers

    def on_token(self, account, grant, token, asked_at):
        """Judge an access token that a caller got."""
        now = self._world.loop.time()
        self._judge_duration(account, asked_at)
        self._refused_since.pop(grant.number, None)
        text = token.value.reveal()
        grant = self._world.provider.grants[grant.number]
        if not text.startswith(f"at-{grant.number}-"):
            self.violated("wrong token", f"account {grant.number} got {text}")
        expires_at = token.info.expires_at
        if expires_at is not None and expires_at <= self._world.clock.now() and not self._world.clock_was_stepped:
            self.violated("expired token", f"account {grant.number} got {text}")
        works = self._world.provider.accepts(grant, text)
        if not works and self._world.kind.old_token_dies and _is_in_flight(grant, asked_at, now):
            self.violated("dying token", f"account {grant.number} got {text} while its refresh was under way")
        return works

    def on_error(self, account, grant, error, asked_at):
        """Judge an error that a caller got."""
        self._world.measures.on_error(grant, error)
        if isinstance(error, ReauthorizationRequiredError) and self._world.is_measured:
            connect_again_later(self._world, grant)
        self._judge_duration(account, asked_at)
        if not isinstance(error, VaultError):
            self.violated("bare error", f"{type(error).__name__}: {error}")
        elif isinstance(error, TokenNotFoundError):
            self.violated("not found", f"account {grant.number}")
        elif isinstance(error, ProviderConfigurationError) and self._is_innocent(grant):
            self._judge_refusal(grant, error.reason)

    def _judge_refusal(self, grant, reason):
        """Judge a refusal: because of other accounts, a vault sends no request for this account.

        A vault may refuse only while the provider rejects most of the accounts, as in an incident, or until the first
        success of a client that was mended. In both cases, it may refuse only for a limited time. To measure this time,
        the user tries again every half a minute.
        """
        now, number = self._world.loop.time(), grant.number
        if not (self._is_incident(reason) or self._is_untried(reason)):
            self.violated("neighbour", f"account {number} is refused: {reason}")
            return
        since = self._refused_since.setdefault(number, now)
        if since == now:
            for tries in range(1, int(LONGEST_REFUSAL / _RETRY) + 2):
                self._world.later(tries * _RETRY, self._world.callers.ask, grant)
        elif now - since > 2 * LONGEST_REFUSAL:  # no vault could be asked meanwhile
            del self._refused_since[number]
        elif now - since > LONGEST_REFUSAL:
            self.violated("neighbour", f"account {number} is refused for {now - since:.0f} s: {reason}")

    def _is_incident(self, reason):
        return reason == MASS_REJECTION and self._world.provider.rejects_most()

    def _is_untried(self, reason):
        """Return whether no vault has stored an answer since the client was mended, so none knows that it works."""
        mended_at = self._world.mended_at
        if mended_at is None or reason not in (INVALID_CLIENT, CLIENT_MISMATCH):
            return False
        return not any(self._is_stored(grant.last, mended_at) for grant in self._world.provider.grants)

    def _is_stored(self, exchange, since):
        if exchange is None or exchange.delivered is None or exchange.delivered < since or exchange.lost is not None:
            return False
        host = self._host_of(exchange)
        can_store = cut_since(host.link, self._world.loop.time()) > exchange.delivered
        return can_store and host.process is exchange.process  # a process that reads a journal ends no pause

    def _is_innocent(self, grant):
        """Return whether nothing that the vault knows of is wrong with an account.

        A user may have connected again while no vault could store the tokens, so the vault holds the earlier grant.
        """
        world = self._world
        is_known = grant.is_stored and grant.dead is None
        return is_known and not world.is_client_wrong and grant.number not in world.ever_refused

    def _judge_duration(self, account, asked_at):
        took = self._world.loop.time() - asked_at
        self._world.measures.on_call(took)
        process = PROCESS.get()
        if took > HANGS + (process.stopped_seconds if process is not None else 0.0):
            self.violated("hang", f"a call took {took:.0f} s")

    # The provider's load

    def judge_load(self, grant):
        """Judge the number of requests of the last hour."""
        if grant.number in self._world.ever_refused:
            return  # its callers force refreshes in a loop
        if len(grant.requests) > MOST_PER_HOUR and grant.requests[0] > grant.requests[-1] - 3600:
            self.violated("load", f"account {grant.number}: more than {MOST_PER_HOUR} requests within an hour")
            grant.requests.clear()

    # The end

    async def judge_end(self, vault):
        """Judge every account after the recovery, with one healthy vault."""
        for grant in self._world.provider.grants:
            account = self._world.account(grant.number)
            info = await vault.get_account(account)
            shown = info.state
            self._world.provider.lapse(grant)
            if not grant.is_stored:
                continue
            if grant.dead in ("idle", "expired"):
                if self._is_excused(grant):
                    continue  # its refresh token went with an answer that nobody could keep
                self.violated("lapsed", f"account {grant.number} was not refreshed in time: {grant.dead}")
                continue
            if grant.dead is None:
                await self._judge_alive(vault, account, grant, shown, info.reason)
            else:
                self._judge_dead(grant, shown)

    async def _judge_alive(self, vault, account, grant, shown, reason):
        if self._is_excused(grant):
            return
        if shown is ConnectionState.REAUTHORIZATION_REQUIRED:
            self.violated("condemned", f"account {grant.number} is alive and shows {shown.value} ({reason})")
            return
        may_wait = self._world.loop.time() - grant.refused_at < LONGEST_WAIT
        ask = vault.refresh_account if may_wait else vault.ensure_access_token
        try:
            token = await self._patiently(lambda: ask(account))
        except VaultError as error:
            self.violated("stuck", f"account {grant.number} is alive, and a call ends with {error.code} {error.reason}")
            return
        if not self._world.provider.accepts(grant, token.value.reveal()):
            try:
                token = await self._patiently(lambda rejected=token: vault.report_rejected(rejected))
            except ReauthorizationRequiredError:
                self.violated("condemned", f"account {grant.number} is alive and was condemned after a 401")
                return
            except VaultError as error:
                self.violated("stuck", f"account {grant.number} is alive, but {error.code} {error.reason}")
                return
            if not self._world.provider.accepts(grant, token.value.reveal()):
                self.violated("dead token", f"account {grant.number} has no working token after the recovery")

    async def _patiently(self, ask):
        """Ask again every half a minute, as users do, while the vault may refuse an account because of other accounts.

        At the end there are many dead grants and one probe a minute, which a sweep may just have taken.
        """
        until = self._world.loop.time() + LONGEST_REFUSAL
        while True:
            try:
                return await ask()
            except ProviderConfigurationError as error:
                if not self._is_incident(error.reason) or self._world.loop.time() >= until:
                    raise
            await asyncio.sleep(_RETRY)

    def _is_excused(self, grant):
        if not grant.is_stored:
            return True
        return grant.last is not None and grant.last.lost is not None

    def _judge_dead(self, grant, shown):
        kind, now = self._world.kind, self._world.loop.time()
        is_long = now - grant.died > SHOWN_AFTER + kind.lifetime
        if is_long and shown is not ConnectionState.REAUTHORIZATION_REQUIRED:
            self.violated("not shown", f"account {grant.number} died of {grant.dead} and shows {shown.value}")


def _is_in_flight(grant, asked_at, now):
    last = grant.last
    return grant.dead is None and last is not None and last.lost is None and now - _IN_FLIGHT < last.at < asked_at


__all__ = ["HANGS", "Oracle"]


def never_read(process, delivered, now):
    """Return whether a process that ends now could not read an answer, because it was stopped until this moment."""
    if process.last_stop is None or delivered is None:
        return False
    stopped_at, continued_at = process.last_stop
    return delivered >= stopped_at and (continued_at is None or continued_at >= now)


def _is_awaited(exchange, stopping_at):
    """Return whether a vault that began to close at ``stopping_at`` has to wait for an answer."""
    return stopping_at - _OPEN < exchange.at and exchange.due < stopping_at + _DRAINED


def cut_since(link, now):
    """Return since when a host cannot store answers in the database, or could not just now; infinite if it can."""
    if link.is_broken or link.lost or link.slow > 1.0 or "commit" in link.refused:
        return link.broken_since
    since, until = link.last_cut or (None, None)
    return since if until is not None and now - until < RETURN_SECONDS else float("inf")
