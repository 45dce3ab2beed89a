"""How long the oracle lets a vault refuse an account because of other accounts, and which lost answers it excuses."""

from random import Random
from types import SimpleNamespace

import pytest
from tests.simulation.history import History
from tests.simulation.kinds import KINDS
from tests.simulation.loop import VirtualLoop
from tests.simulation.oracle import LONGEST_REFUSAL, Oracle, cut_since, never_read
from tests.simulation.provider import Exchange, Provider

from vault_adapters import ConnectionState, ProviderConfigurationError

pytestmark = pytest.mark.tools

ACCOUNT = "account"


class Vault:
    """A vault that refuses an account until a virtual time."""

    def __init__(self, loop, until, reason):
        self._loop, self._until, self._reason = loop, until, reason

    async def ensure_access_token(self, account):
        if self._loop.time() < self._until:
            raise ProviderConfigurationError(reason=self._reason)
        return SimpleNamespace(value=SimpleNamespace(reveal=lambda: "token"))


def violations(until, *, rejects_most=True, reason="mass_rejection"):
    """Judge an account that is alive and is refused until a time."""
    loop = VirtualLoop(0)
    provider = SimpleNamespace(rejects_most=lambda: rejects_most, accepts=lambda *_: True)
    history = SimpleNamespace(add=lambda *_: None)
    oracle = Oracle(SimpleNamespace(loop=loop, violations=[], provider=provider, history=history))
    grant = SimpleNamespace(number=8, is_stored=True, last=None, refused_at=float("-inf"))
    try:
        loop.run_until_complete(
            oracle._judge_alive(Vault(loop, until, reason), ACCOUNT, grant, ConnectionState.CONNECTED, None)
        )
    finally:
        loop.close()
    return oracle.violations


@pytest.mark.parametrize("until", [0.0, 1.0, LONGEST_REFUSAL])
def test_an_account_may_wait_for_a_probe_while_the_provider_rejects_most(until):
    assert violations(until) == []


@pytest.mark.parametrize(
    ("until", "changes"),
    [
        pytest.param(LONGEST_REFUSAL + 1.0, {}, id="for too long"),
        pytest.param(1.0, {"rejects_most": False}, id="without a mass rejection at the provider"),
        pytest.param(1.0, {"reason": "invalid_client"}, id="for another reason"),
    ],
)
def test_an_account_that_is_refused_otherwise_is_stuck(until, changes):
    [violation] = violations(until, **changes)
    assert violation.startswith("stuck: account 8 is alive")


@pytest.mark.parametrize(("delivered", "rejects_most"), [(5, True), (6, False)])
def test_a_success_whose_answer_is_lost_does_not_show_that_the_provider_works(delivered, rejects_most):
    loop = VirtualLoop(0)
    provider = Provider(loop, KINDS["strict"], Random(0), History(loop.time, is_kept=False), None, None)
    for number in range(6):
        provider._note_verdict(SimpleNamespace(number=number), is_rejected=True)
    for number in range(6, 12):
        exchange = Exchange(0.0, None, "rt", grant=SimpleNamespace(number=number))
        if number < 6 + delivered:
            provider._mark_delivered(exchange, loop.create_future())
    provider._most_rejected_at = float("-inf")
    provider._note_verdict(SimpleNamespace(number=0), is_rejected=True)
    loop.close()
    assert provider.rejects_most() is rejects_most


@pytest.mark.parametrize(
    ("last_stop", "delivered", "expected"),
    [
        (None, 5.0, False),
        ((4.0, None), 5.0, True),
        ((4.0, 9.0), 5.0, True),  # it continued and was killed at once
        ((4.0, 8.0), 5.0, False),
        ((6.0, None), 5.0, False),
        ((4.0, None), None, False),
    ],
)
def test_a_stopped_process_reads_no_answer(last_stop, delivered, expected):
    assert never_read(SimpleNamespace(last_stop=last_stop), delivered, 9.0) is expected


@pytest.mark.parametrize(
    ("changes", "is_violated"),
    [
        ({}, True),
        ({"dead": "reuse"}, False),
        ({"is_stored": False}, False),  # the user connected again while no vault could store the tokens
    ],
)
def test_only_an_account_whose_grant_is_known_and_alive_must_not_be_refused_because_of_others(changes, is_violated):
    world = SimpleNamespace(
        loop=SimpleNamespace(time=lambda: 0.0),
        provider=SimpleNamespace(rejects_most=lambda: False),
        history=SimpleNamespace(add=lambda *_: None),
        measures=SimpleNamespace(on_error=lambda *_: None, on_call=lambda *_: None),
        violations=[],
        is_measured=False,
        is_client_wrong=False,
        mended_at=None,
        ever_refused=set(),
    )
    grant = SimpleNamespace(**{"number": 8, "dead": None, "is_stored": True} | changes)
    Oracle(world).on_error(ACCOUNT, grant, ProviderConfigurationError(reason="mass_rejection"), 0.0)
    assert [text.startswith("neighbour: account 8") for text in world.violations] == [True] * is_violated


@pytest.mark.parametrize(
    ("changes", "last_cut", "expected"),
    [
        ({}, None, float("inf")),
        ({}, (10.0, 30.0), float("inf")),
        ({}, (10.0, 39.0), 10.0),  # the database came back just before the process ended
        ({"is_broken": True}, (20.0, None), 20.0),
        ({"slow": 2.0}, (5.0, 6.0), 20.0),
        ({"refused": {"commit"}}, None, 20.0),
        ({"refused": {"claim"}}, None, float("inf")),
    ],
)
def test_a_process_that_ends_just_after_an_outage_could_not_store_its_answers(changes, last_cut, expected):
    link = {"is_broken": False, "lost": 0.0, "slow": 0.0, "refused": (), "broken_since": 20.0, "last_cut": last_cut}
    assert cut_since(SimpleNamespace(**link | changes), 40.0) == expected


@pytest.mark.parametrize(
    ("reason", "mended_at", "answer", "is_violated"),
    [
        ("invalid_client", None, {}, True),
        ("invalid_client", 5.0, {}, True),
        ("invalid_client", 20.0, {}, False),  # the latest answer came before the client was mended
        ("client_mismatch", 20.0, {}, False),
        ("unauthorized_client", 20.0, {}, True),
        ("invalid_client", 5.0, {"lost": "its process was killed"}, False),
        ("invalid_client", 5.0, {"delivered": None}, False),
        ("invalid_client", 5.0, {"is_broken": True}, False),  # nobody can store the answer
        ("invalid_client", 5.0, {"process": "another"}, False),
    ],
)
def test_an_account_may_be_refused_until_a_mended_client_has_succeeded(reason, mended_at, answer, is_violated):
    link = {"is_broken": False, "lost": 0.0, "slow": 0.0, "refused": (), "broken_since": 8.0, "last_cut": None} | answer
    exchange = SimpleNamespace(process="p", delivered=answer.get("delivered", 10.0), lost=answer.get("lost"))
    world = SimpleNamespace(
        loop=SimpleNamespace(time=lambda: 30.0),
        provider=SimpleNamespace(rejects_most=lambda: False, grants=[SimpleNamespace(last=exchange)]),
        history=SimpleNamespace(add=lambda *_: None),
        hosts=[SimpleNamespace(link=SimpleNamespace(**link | {"lost": 0.0}), process=answer.get("process", "p"))],
        processes_of=lambda _: ["p"],
        later=lambda *_: None,
        callers=SimpleNamespace(ask=None),
        violations=[],
        mended_at=mended_at,
    )
    oracle = Oracle(world)
    oracle._judge_refusal(SimpleNamespace(number=8), reason)
    assert bool(oracle.violations) is is_violated
