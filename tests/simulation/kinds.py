"""The kinds of providers that the simulation plays."""

from attrs import frozen
from tests.simulation.profile_kinds import kinds_of_profiles

HOUR, DAY = 3600.0, 86_400.0


@frozen
class Kind:
    """How a provider behaves, and which faults its worlds have.

    Attributes:
        rotates: probability that a refresh replaces the refresh token.
        uses: number of uses after which a refresh token is replaced, if it is replaced at all.
        grace: seconds for which a replaced refresh token still works; None: for ever.
        revokes: a replaced refresh token that is presented after the grace period revokes the grant.
        lifetime: seconds for which an access token is valid, as the answer states.
        dies_early: seconds by which an access token really ends earlier.
        tells_lifetime: whether the answer has ``expires_in``.
        old_token_dies: a refresh ends the previous access token.
        idle: seconds after which a refresh token that is not used lapses; None: never.
        absolute: seconds after which a grant ends, however it is used; None: never.
        dead: status and members of the answer for a dead grant; None: the body is no JSON.
        foreign: status and members of the answer for a refresh token that was issued to another client.
        grant: which refresher is used: ``oauth2``, ``client_credentials`` or ``meta``.
        rotation: what the host declares: ``strict``, ``grace`` (with ``grace`` seconds) or ``non_rotating``.
        faults: the names of the faults that its worlds have besides those of processes and databases.
        days: simulated days of a world.
        storms: how many groups of faults a world may have.
    """

    name: str
    rotates: float = 1.0
    uses: int = 1
    grace: float | None = 0.0
    revokes: bool = True
    lifetime: float = 8 * HOUR
    dies_early: float = 0.0
    tells_lifetime: bool = True
    old_token_dies: bool = False
    idle: float | None = None
    absolute: float | None = None
    dead: tuple[int, dict | None] = (400, {"error": "invalid_grant"})
    foreign: tuple[int, dict] = (400, {"error": "invalid_grant"})
    grant: str = "oauth2"
    rotation: str = "strict"
    faults: tuple[str, ...] = ("outage", "lost_answers")
    days: float = 20.0
    storms: tuple[int, ...] = (2, 5, 12)


def _non_rotating(name, **changes):
    return Kind(name, rotates=0.0, grace=None, revokes=False, rotation="non_rotating", **changes)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("strict"),
        Kind("strict_short", lifetime=HOUR, days=5.0),
        Kind("minutes", lifetime=300.0, days=0.3, storms=(15, 40),
             faults=("interrupted", "ambush", "outage", "lost_answers")),
        Kind("grace", grace=60.0, rotation="grace", faults=("outage", "lost_answers", "late_failure")),
        Kind("grace_minutes", grace=60.0, rotation="grace", lifetime=600.0, days=0.3, storms=(20, 40),
             faults=("interrupted", "ambush", "database_down")),
        Kind("short_grace", grace=30.0, rotation="grace"),
        _non_rotating("non_rotating"),
        Kind("rotates_sometimes", rotates=0.3),
        Kind("every_second_use", uses=2, lifetime=HOUR, days=2.0, storms=(5, 12)),
        Kind("dies_early", dies_early=30.0, lifetime=600.0, days=0.5, storms=(10, 20),
             faults=("outage", "lost_answers", "uncommitted")),
        Kind("late", faults=("late_answers", "forced", "closing")),
        _non_rotating("throttling", faults=("throttle",)),
        Kind("outages", faults=("outage", "timeouts", "lost_answers")),
        _non_rotating("odd_code", lifetime=DAY, dead=(400, {"error": "BAD_REFRESH_TOKEN"})),
        _non_rotating("odd_code_200", lifetime=DAY, dead=(200, {"error": "invalid_code"})),
        _non_rotating("not_found", lifetime=DAY, dead=(404, None)),
        _non_rotating("unauthorized", lifetime=DAY, dead=(401, {"error": "unauthorized"})),
        _non_rotating("message_only", lifetime=DAY, dead=(400, {"message": "token revoked", "code": 4001})),
        Kind("idle_lapse", lifetime=2 * DAY, idle=5 * DAY, days=40.0),
        Kind("no_expiry", tells_lifetime=False, idle=5 * DAY, days=30.0),
        Kind("old_token_dies", old_token_dies=True, lifetime=4 * HOUR),
        Kind("wrong_client_id", faults=("wrong_client_id",)),
        Kind("wrong_client_id_refused", faults=("wrong_client_id",), foreign=(401, {"error": "unauthorized_client"})),
        Kind("wrong_client_secret", faults=("wrong_client_secret",)),
        Kind("directory", faults=("directory_refuses", "outage")),
        Kind("one_tenant_scope", faults=("invalid_scope", "outage")),
        _non_rotating("api_key", grant="client_credentials", lifetime=DAY),
        Kind("renews_freely", lifetime=HOUR, days=3.0, idle=90 * DAY, grace=None, revokes=False,
             rotation="non_rotating"),
        Kind("absolute", lifetime=4 * HOUR, absolute=8 * DAY),
        Kind("meta", rotates=1.0, grace=None, revokes=False, grant="meta", lifetime=60 * DAY, days=150.0,
             rotation="non_rotating"),
    )
}  # fmt: skip
"""`directory` is a provider that answers ``unauthorized_client`` for all accounts of one tenant, as Entra does.
`renews_freely` gives a new refresh token with each refresh and leaves the old one valid, as Entra does too."""

_OF_PROFILES, PLAYED_BY = kinds_of_profiles(Kind)
"""`PLAYED_BY`: the name of the kind that plays each of the packaged profiles."""
KINDS |= _OF_PROFILES
