"""When tokens expire: by the provider's answer, by a JWT's own claim, else by the refresher's default."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, MINUTE, store, stored
from tests.support.databases import both_stores

from vault_adapters import ConnectionState, ImportedToken, Secret, TokenHealth, TokenKind, TokenSet
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.errors import InvalidInputError, ReauthorizationRequiredError

ACCESS, REFRESH = ACCOUNT.key(TokenKind.ACCESS_TOKEN), ACCOUNT.key(TokenKind.REFRESH_TOKEN)
DAY, CENTURY = timedelta(days=1), timedelta(days=36_525)


class Salesforce(ScriptedRefresher):
    """A refresher that states a default lifetime for its access tokens."""

    default_lifetime = 2 * HOUR


class Idle(ScriptedRefresher):
    """A refresher whose refresh tokens lapse after 30 days without use."""

    idle_lifetime = 30 * DAY


def jwt(**claims):
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".s"


def seconds(moment):
    return int(moment.timestamp())


async def expiry(vault, key=ACCESS):
    return (await vault.get_token(key)).info.expires_at


async def answer_with(opened, clock, refresher=None, **members):
    """Refresh with an answer of these members; return the vault."""
    response = {"access_token": "access-1", "refresh_token": "refresh-1", **members}
    refresher = refresher or ScriptedRefresher()
    refresher.then(TokenSet.from_response(response))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(HOUR)
    await vault.ensure_access_token(ACCOUNT)
    return vault


@both_stores
@pytest.mark.parametrize("way", ["set", "one", "many", "import"])
async def test_the_expiry_of_a_jwt_is_read_on_every_way_in(opened, clock, way):
    vault, ends = await opened(), clock.now().replace(microsecond=0) + 3 * HOUR
    value = jwt(exp=seconds(ends), iat=seconds(ends - HOUR))
    if way == "set":
        await vault.store_token_set(ACCOUNT, TokenSet(value))
    elif way == "one":
        await vault.store_token(ACCESS, value)
    elif way == "many":
        await vault.store_tokens([(ACCESS, value), (REFRESH, jwt(exp=seconds(ends)))])
        assert await expiry(vault, REFRESH) is None
    else:
        await vault.import_tokens([ImportedToken(ACCESS, Secret(value))])
    info = (await vault.get_token(ACCESS)).info
    assert (info.expires_at, info.lifetime) == (ends, None if way == "import" else HOUR)


WAYS = ["set", "one", "many", "import"]


async def put(vault, way, value="access", **times):
    """Store an access token in one of `WAYS`; ``expires_at`` may be given."""
    if way == "set":
        await vault.store_token_set(ACCOUNT, TokenSet(value, **times))
    elif way == "one":
        await vault.store_token(ACCESS, value, **times)
    elif way == "many":
        await vault.store_tokens([(ACCESS, value, *times.values())])
    else:
        await vault.import_tokens([ImportedToken(ACCESS, Secret(value), **times)], overwrite=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [True, False])
async def test_an_expiry_far_ahead_is_limited_on_every_way_in(opened, clock, way, given):
    vault, far = await opened(), datetime.fromtimestamp(9999999999, UTC)
    if given:
        await put(vault, way, expires_at=far)
    else:
        await put(vault, way, jwt(exp=9999999999, iat=seconds(clock.now())))
    info = (await vault.get_token(ACCESS)).info
    assert info.expires_at == clock.now() + CENTURY
    assert info.lifetime in (None, CENTURY)


@pytest.mark.parametrize("way", WAYS)
async def test_a_number_that_is_no_time_is_ignored_on_every_way_in(opened, clock, way):
    vault = await opened()
    for number in (10**12, 10**18, -1, 0):
        await put(vault, way, jwt(exp=number))
        assert await expiry(vault) is None


async def test_an_answer_without_a_time_of_receipt_is_limited_when_it_is_stored(opened, clock):
    vault = await opened()
    members = {"access_token": "access", "refresh_token": "refresh", "expires_at": 9999999999}
    await vault.store_token_set(ACCOUNT, TokenSet.from_response(members))
    assert await expiry(vault) == clock.now() + CENTURY
    far = datetime.fromtimestamp(9999999999, UTC)
    await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh", refresh_token_expires_at=far))
    assert [await expiry(vault, key) for key in (ACCESS, REFRESH)] == [None, clock.now() + CENTURY]
    near = clock.now() + CENTURY - MINUTE
    await vault.store_token(ACCESS, "access", expires_at=near)
    assert await expiry(vault) == near


@pytest.mark.parametrize("way", WAYS)
async def test_a_default_lifetime_is_used_on_every_way_in(opened, clock, way):
    vault = await opened(Salesforce())
    await vault.store_token(REFRESH, "refresh")
    await put(vault, way)
    assert await expiry(vault) == clock.now() + 2 * HOUR


async def test_a_default_lifetime_is_used_beside_a_refresh_token_of_the_same_call(opened, clock):
    vault = await opened(Salesforce())
    await vault.store_token_set(ACCOUNT, TokenSet("access", "refresh"))
    assert await expiry(vault) == clock.now() + 2 * HOUR
    await vault.delete_account(ACCOUNT)
    await vault.store_tokens([(ACCESS, "access"), (REFRESH, "refresh")])
    assert await expiry(vault) == clock.now() + 2 * HOUR


@pytest.mark.parametrize("way", WAYS)
async def test_without_a_refresh_token_no_default_lifetime_is_used(opened, clock, way):
    """Many providers give tokens that never expire, and no refresh token, if the host's app is configured so."""
    vault = await opened(Salesforce())
    await put(vault, way)
    clock.advance(300 * DAY)
    assert await expiry(vault) is None
    assert (await vault.get_account(ACCOUNT)).state is ConnectionState.CONNECTED
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access"


@pytest.mark.parametrize(
    ("times", "age"),
    [
        ({}, 0),
        ({"created_at": 3}, 3),
        ({"created_at": 3, "last_refreshed_at": 1}, 1),
        ({"updated_at": 1}, 1),
        ({"created_at": 1, "updated_at": 0}, 1),
        ({"last_refreshed_at": -1}, 0),
    ],
)
async def test_the_default_lifetime_of_an_imported_token_counts_from_its_last_refresh(opened, clock, times, age):
    vault = await opened(Salesforce(TokenSet("access-1", "refresh-1")))
    past = {name: clock.now() - hours * HOUR for name, hours in times.items()}
    await vault.import_tokens([ImportedToken(key, "value", **past) for key in (ACCESS, REFRESH)])
    assert await expiry(vault) == clock.now() + (2 - age) * HOUR
    assert await expiry(vault, REFRESH) is None
    clock.advance(max((2 - age) * HOUR - 10 * MINUTE, timedelta(0)))
    assert (await vault.refresh_due()).refreshed == 1


async def test_a_given_expiry_of_an_imported_token_precedes_the_default_lifetime(opened, clock):
    vault, ends = await opened(Salesforce()), clock.now().replace(microsecond=0) + 3 * HOUR
    await vault.import_tokens([ImportedToken(ACCESS, "value", expires_at=ends)])
    assert await expiry(vault) == ends
    await vault.import_tokens([ImportedToken(ACCESS, jwt(exp=seconds(ends)))], overwrite=True)
    assert await expiry(vault) == ends


async def test_a_given_expiry_precedes_a_jwt_and_an_opaque_token_has_none(opened, clock):
    vault, ends = await opened(), clock.now().replace(microsecond=0) + 3 * HOUR
    await vault.store_token(ACCESS, jwt(exp=seconds(ends)), expires_at=ends + HOUR)
    assert await expiry(vault) == ends + HOUR
    await vault.store_token_set(ACCOUNT, TokenSet(jwt(exp=seconds(ends)), expires_in=60))
    assert await expiry(vault) == clock.now() + MINUTE
    for opaque in ("access", "a.b.c", jwt(sub="ann"), jwt(exp="tomorrow")):
        await vault.store_token_set(ACCOUNT, TokenSet(opaque))
        assert await expiry(vault) is None


async def test_a_refreshers_default_lifetime_is_used_where_nothing_tells_one(opened, clock):
    ends = clock.now().replace(microsecond=0) + DAY
    vault = await opened(Salesforce(TokenSet("access-1", "refresh-1"), TokenSet(jwt(exp=seconds(ends)), "refresh-2")))
    await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0"))
    assert await expiry(vault) == clock.now() + 2 * HOUR
    clock.advance(HOUR)
    await vault.refresh_account(ACCOUNT)
    assert await expiry(vault) == clock.now() + 2 * HOUR
    await vault.refresh_account(ACCOUNT)
    assert await expiry(vault) == ends


async def test_a_default_lifetime_lets_sweeps_refresh_ahead(opened, clock):
    refresher = Salesforce(TokenSet("access-1", "refresh-1"))
    vault = await opened(refresher)
    await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0"))
    clock.advance(2 * HOUR - 10 * MINUTE)
    assert (await vault.refresh_due()).refreshed == 1


async def test_a_grant_without_an_expiry_is_refreshed_before_its_refresh_token_lapses(opened, clock):
    refresher = Idle(*(TokenSet(f"access-{number}", f"refresh-{number}") for number in (1, 2)))
    vault = await opened(refresher)
    await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0"))
    for number in (1, 2):
        clock.advance(24 * DAY - MINUTE)
        assert (await vault.refresh_due()).claimed == 0
        clock.advance(MINUTE)
        assert (await vault.refresh_due()).refreshed == 1
        assert (await vault.get_token(REFRESH)).value.reveal() == f"refresh-{number}"


async def test_a_token_that_is_its_own_credential_is_refreshed_with_a_fifth_of_its_life_left(opened, clock):
    answers = [TokenSet(f"access-{number}", expires_in=60 * DAY.total_seconds()) for number in (1, 2)]
    vault = await opened(ScriptedRefresher(*answers, spends=TokenKind.ACCESS_TOKEN))
    await vault.store_token_set(ACCOUNT, TokenSet("access-0", expires_in=60 * DAY.total_seconds()))
    for number in (1, 2):
        clock.advance(48 * DAY - MINUTE)
        assert (await vault.refresh_due()).claimed == 0
        clock.advance(MINUTE)
        assert (await vault.refresh_due()).refreshed == 1
        assert (await vault.get_token(ACCESS)).value.reveal() == f"access-{number}"


class Exchanging(ScriptedRefresher):
    """A refresher that exchanges access tokens, whose lifetime its answers do not state."""

    default_lifetime = 60 * DAY


async def test_an_assumed_lifetime_ends_no_connection_before_the_provider_was_asked(opened, clock):
    refused = ReauthorizationRequiredError(reason="invalid_grant")
    refresher = Exchanging(TokenSet("access-1"), TokenSet("access-2"), refused, spends=TokenKind.ACCESS_TOKEN)
    vault = await opened(refresher)
    await vault.store_token_set(ACCOUNT, TokenSet("access-0", expires_in=60 * DAY.total_seconds()))
    for number in (1, 2):  # no sweep runs, and nobody needs the token before its lifetime is over
        clock.advance(61 * DAY)
        assert (await vault.get_account(ACCOUNT)).state is ConnectionState.CONNECTED
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == f"access-{number}"
    clock.advance(61 * DAY)
    with pytest.raises(ReauthorizationRequiredError):
        await vault.ensure_access_token(ACCOUNT)
    info = await vault.get_account(ACCOUNT)
    assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "invalid_grant")
    assert (await vault.refresh_due()).claimed == 0


@pytest.mark.parametrize("order", [(ACCESS, REFRESH), (REFRESH, ACCESS), None], ids=["access", "refresh", "together"])
async def test_single_tokens_of_an_idle_grant_are_scheduled(opened, clock, order):
    vault = await opened(Idle(TokenSet("access-1", "refresh-1")))
    if order is None:
        await vault.store_tokens([(ACCESS, "access"), (REFRESH, "refresh")])
    else:
        for key in order:
            await vault.store_token(key, "value")
    clock.advance(24 * DAY)
    assert (await vault.refresh_due()).refreshed == 1


@pytest.mark.parametrize("way", ["one", "many", "import", "delete"])
async def test_a_refresh_token_without_an_access_token_does_not_lapse_unused(opened, clock, way):
    refresher = Idle(TokenSet("access-1", "refresh-1"))
    vault = await opened(refresher)
    if way == "one":
        await vault.store_token(REFRESH, "refresh-0")
    elif way == "many":
        await vault.store_tokens([(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "secret"), (REFRESH, "refresh-0")])
    elif way == "import":
        await vault.import_tokens([ImportedToken(REFRESH, "refresh-0")])
    else:
        await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0"))
        await vault.refresh_due()
        await vault.delete_token(ACCESS)
    for _ in range(23):
        assert (await vault.refresh_due()).claimed == 0
        clock.advance(DAY)
    assert (await vault.refresh_due()).claimed == 0
    clock.advance(DAY)
    assert (await vault.refresh_due()).refreshed == 1
    assert (await vault.get_token(REFRESH)).value.reveal() == "refresh-1"


async def test_keys_and_grants_that_do_not_lapse_are_not_swept(opened, clock):
    refresher = Idle(spends=TokenKind.API_KEY)
    vault = await opened(refresher)
    await vault.store_token(ACCOUNT.key(TokenKind.API_KEY), "key")
    await vault.store_token(REFRESH, "refresh")
    other = await opened(ScriptedRefresher())
    await other.store_token(REFRESH, "refresh")
    for each in (vault, other):
        clock.advance(40 * DAY)
        assert (await each.refresh_due()).claimed == 0


async def test_an_imported_idle_grant_is_refreshed_before_it_lapses(opened, clock):
    vault = await opened(Idle(TokenSet("access-1", "refresh-1")))
    past = clock.now() - 20 * DAY
    await vault.import_tokens([ImportedToken(key, "value", created_at=past) for key in (ACCESS, REFRESH)])
    clock.advance(4 * DAY - timedelta(minutes=1))
    assert (await vault.refresh_due()).refreshed == 0
    clock.advance(timedelta(minutes=1))
    assert (await vault.refresh_due()).refreshed == 1


@pytest.mark.parametrize("value", [0, -1, "2h", timedelta(0)])
def test_a_default_lifetime_is_a_positive_duration(value):
    with pytest.raises(InvalidInputError):
        OAuth2Refresher("https://provider.test/token", "id", "secret", default_lifetime=value)


@pytest.mark.parametrize("name", ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"])
async def test_the_lifetime_of_a_refresh_token_is_stored(opened, clock, name):
    vault = await answer_with(opened, clock, **{name: 86_400})
    assert await expiry(vault, REFRESH) == clock.now() + DAY
    account = await vault.get_account(ACCOUNT)
    assert account.refresh_token_expires_at == clock.now() + DAY
    await vault.store_token_set(ACCOUNT, TokenSet.from_response({"access_token": "a", "refresh_token": "r", name: 60}))
    assert await expiry(vault, REFRESH) == clock.now() + MINUTE


async def test_a_lifetime_of_zero_means_none(opened, clock):
    vault = await answer_with(opened, clock, refresh_expires_in=0)
    assert await expiry(vault, REFRESH) is None


async def test_an_answer_may_prolong_the_presented_refresh_token(opened, clock):
    vault = await answer_with(opened, clock, refresh_token=None, refresh_token_expires_in=3600)
    assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-0"}
    assert await expiry(vault, REFRESH) == clock.now() + HOUR


async def test_a_sweep_says_reconnect_soon_once(opened, clock):
    events = []
    vault = await opened(ScriptedRefresher(), on_event=events.append)
    token_set = TokenSet("access", "refresh", refresh_token_expires_at=clock.now() + 15 * DAY)
    await vault.store_token_set(ACCOUNT, token_set)
    for _ in range(3):
        await vault.refresh_due()
        clock.advance(DAY)
    assert [event.action for event in events].count("refresh_token_expiring") == 1
    health = {each.health for each in (await vault.health()).counts}
    assert TokenHealth.EXPIRING in health


async def test_an_expired_refresh_token_is_not_presented(opened, clock):
    refresher = ScriptedRefresher()
    vault = await answer_with(opened, clock, refresher, expires_in=7200, refresh_token_expires_in=3600)
    clock.advance(2 * HOUR)
    assert (await vault.refresh_due()).claimed == 0
    assert (await vault.get_account(ACCOUNT)).state == "reauthorization_required"
    assert len(refresher.calls) == 1


@pytest.mark.parametrize("name", ["expires_at", "expires_in", "refresh_token_expires_in", "exp"])
async def test_an_absurd_time_loses_no_refresh_token(opened, clock, name):
    members = {"access_token": jwt(exp=9999999999)} if name == "exp" else {name: 9999999999}
    vault = await answer_with(opened, clock, **members)
    assert (await stored(vault))["refresh_token"] == "refresh-1"
    ends = [await expiry(vault, key) for key in (ACCESS, REFRESH)]
    assert clock.now() + CENTURY in ends


async def test_a_clock_far_ahead_loses_no_refresh_token(opened, clock):
    clock.advance(datetime(9950, 1, 1, tzinfo=UTC) - clock.now())
    vault = await answer_with(opened, clock, expires_at=253370764799, refresh_token_expires_in=10**11)
    assert (await stored(vault))["refresh_token"] == "refresh-1"
