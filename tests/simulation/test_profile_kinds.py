"""Each packaged profile is played by a kind of provider that does to tokens what the profile says."""

from datetime import timedelta

import pytest
from tests.simulation.host import refresher_of
from tests.simulation.kinds import KINDS, PLAYED_BY
from tests.simulation.profile_kinds import PLAYED_BY_HAND

from vault_adapters.providers import refresher
from vault_adapters.providers.profiles import packaged_profile, profiles
from vault_domain.entities.account import TokenKind

pytestmark = pytest.mark.tools

REFRESHED = [
    name
    for name in profiles()
    if packaged_profile(name).token_url is not None and packaged_profile(name).rotation.kind != "none"
]
WITH_KEYS = [name for name in REFRESHED if packaged_profile(name).request.grant in ("client_credentials", "api_key")]


def of_profile(name):
    profile = packaged_profile(name)
    values = {
        variable: EXAMPLES[variable] for variable in profile.variables if profile.variables[variable].default is None
    }
    return refresher(name, **values) if name in WITH_KEYS else refresher(name, "client", "client-secret", **values)


EXAMPLES = {"shop": "acme", "subdomain": "acme", "org": "acme.okta.com", "tenant": "acme.eu"}
"""Values of the variables that have no default."""


def test_no_profile_is_left_out():
    assert sorted(PLAYED_BY) == REFRESHED
    assert set(PLAYED_BY.values()) <= set(KINDS)


@pytest.mark.parametrize("name", REFRESHED)
def test_a_host_of_the_simulation_knows_what_the_profile_knows(name):
    made, played = of_profile(name), refresher_of(KINDS[PLAYED_BY[name]])
    assert (made.spends, made.rotation) == (played.spends, played.rotation)
    if made.spends is TokenKind.REFRESH_TOKEN:
        assert (made.idle_lifetime, made.old_token_dies) == (played.idle_lifetime, played.old_token_dies)


@pytest.mark.parametrize("name", REFRESHED)
def test_the_provider_of_the_simulation_does_what_the_profile_says(name):
    profile, kind = packaged_profile(name), KINDS[PLAYED_BY[name]]
    facts = profile.rotation
    assert kind.old_token_dies == facts.old_token_dies
    assert kind.revokes == (facts.kind != "non_rotating")
    assert kind.grace == {"strict": 0.0, "non_rotating": None}.get(
        facts.kind, facts.grace and facts.grace.total_seconds()
    )
    assert timedelta(seconds=kind.lifetime) == (profile.answer.default_lifetime or timedelta(hours=1))
    if name not in PLAYED_BY_HAND:
        assert (kind.rotates > 0) == (facts.kind != "non_rotating")
