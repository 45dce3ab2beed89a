"""Observers are told of refreshes, get no secret, and cannot disturb the vault."""

import logging
import traceback
from contextlib import contextmanager

import pytest
from attrs import define, field
from tests.services.conftest import ACCOUNT, HOUR, answer
from tests.services.test_late_answers import in_virtual_time, late

from vault_adapters import (
    DecryptionError,
    KeyUnavailableError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshNotPersistedError,
    StorageError,
    TokenNotFoundError,
)
from vault_domain.entities.measures import Operation
from vault_domain.services.observing import Observed, outcome_of


@define
class Notes:
    """An observer that records its calls. No error of an operation may reach it."""

    told: list = field(factory=list)

    @contextmanager
    def begin(self, operation, provider):
        class Step:
            def ended(_, outcome, cause=None):  # noqa: N805
                self.told.append((operation, provider, outcome, cause))

        yield Step()  # an error that the operation raised would come out here

    def of(self, operation):
        return [(outcome, cause) for each, _, outcome, cause in self.told if each is operation]


class Harmful:
    """An observer that raises at one of its four moments."""

    def __init__(self, moment):
        self.moment = moment
        self.errors = []

    def begin(self, operation, provider):
        self.fail("begin")
        return self

    def __enter__(self):
        self.fail("enter")
        return self

    def ended(self, outcome, cause=None):
        self.fail("ended")

    def __exit__(self, kind, error, trace):
        self.errors.append(error)
        self.fail("exit")

    def fail(self, moment):
        if moment == self.moment:
            raise RuntimeError("a-secret")


async def test_a_refresh_is_told_step_by_step(connected, refresher):
    notes = Notes()
    connected.observed.add(notes)
    refresher.then(answer(1))
    await connected.refreshing.ensure(ACCOUNT, None, actor=None)
    assert notes.told == [
        (Operation.CLAIM, "google", "claimed", None),
        (Operation.EXCHANGE, "google", "done", None),
        (Operation.JOURNAL, "google", "stored", None),
        (Operation.REFRESH, "google", "refreshed", None),
        (Operation.ENSURE, "google", "done", None),
    ]
    await connected.refreshing.ensure(ACCOUNT, None, actor=None)
    assert len(notes.told) == 5  # ENSURE is observed only if the caller waits; the stored token comes at once


async def test_a_reason_that_is_not_registered_is_not_told(connected, refresher):
    notes = Notes()
    connected.observed.add(notes)
    refresher.then(RefreshFailedError(reason="a secret of the provider"))
    with pytest.raises(RefreshFailedError):
        await connected.refreshing.ensure(ACCOUNT, None, actor=None)
    assert notes.of(Operation.EXCHANGE) == notes.of(Operation.REFRESH) == [("failed", None)]


@in_virtual_time
async def test_a_late_answer_is_told_again_when_it_comes(world):
    process, notes = await world.connected(late(40, answer(1))), Notes()
    process.cases.observed.add(notes)
    await world.refused(process.ensure())
    assert notes.of(Operation.REFRESH) == notes.of(Operation.ENSURE) == [("outcome_unknown", "timeout")]
    assert notes.of(Operation.EXCHANGE) == []  # the exchange still runs
    await world.at(41)
    assert notes.of(Operation.REFRESH) == [("outcome_unknown", "timeout"), ("refreshed", None)]
    assert notes.of(Operation.EXCHANGE) == [("done", None)]


@pytest.mark.parametrize("moment", ["begin", "enter", "ended", "exit"])
async def test_an_observer_that_raises_does_no_harm(connected, refresher, caplog, moment):
    notes = Notes()
    harmful = Harmful(moment)
    connected.observed.add(harmful)
    connected.observed.add(notes)
    refresher.then(answer(1), RefreshFailedError(reason="server_error"))
    await connected.refreshing.ensure(ACCOUNT, None, actor=None)
    connected.clock.advance(HOUR)
    with caplog.at_level(logging.ERROR), pytest.raises(RefreshFailedError) as caught:
        await connected.refreshing.ensure(ACCOUNT, None, actor=None)
    assert caught.value.reason == "server_error"
    assert "RuntimeError" not in "".join(traceback.format_exception(caught.value))
    assert "an observer raised RuntimeError" in caplog.text
    assert "a-secret" not in caplog.text
    assert notes.of(Operation.ENSURE) == [("done", None), ("failed", "server_error")]
    assert set(harmful.errors) <= {None}  # an error's text and traceback may hold a secret


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ("done", None)),
        (RefreshFailedError(reason="server_error"), ("failed", "server_error")),
        (RefreshFailedError(reason="timeout", outcome_unknown=True), ("outcome_unknown", "timeout")),
        (RefreshNotPersistedError(), ("not_persisted", None)),
        (ReauthorizationRequiredError(reason="invalid_grant"), ("reauthorization_required", "invalid_grant")),
        (ProviderConfigurationError(reason="http_404"), ("refused", "http_404")),
        (DecryptionError(), ("unreadable", None)),
        (KeyUnavailableError(reason="some text"), ("key_unavailable", None)),
        (StorageError(reason="disk_full"), ("storage_failed", "disk_full")),
        (TokenNotFoundError(), ("not_connected", None)),
        (TimeoutError("a-secret"), ("timeout", None)),
        (ValueError("a-secret"), ("error", None)),
        (KeyboardInterrupt(), ("cancelled", None)),
    ],
)
def test_outcomes_come_from_a_fixed_list(error, outcome):
    assert outcome_of(error) == outcome


def test_nothing_is_made_without_an_observer():
    observed = Observed()
    assert observed.step(Operation.SWEEP) is observed.step(Operation.ENSURE, "google")
