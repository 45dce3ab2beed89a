"""A fact of a profile that is not from the provider's own pages has the value that does the least harm."""

import pytest
from tests.adapters.providers.profiles.files import TABLES, grant

from vault_adapters.providers.profiles.loading import packaged_profile
from vault_domain.entities.rotation_policy import Rotation


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if grant(table) == "refresh_token"])
def test_a_rotation_that_is_not_verified_is_strict(name):
    profile = packaged_profile(name)
    if not (profile.is_verified("rotation.kind") and profile.is_verified("rotation.grace")):
        assert profile.rotation.policy == Rotation.strict()


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if "revocation_url" in table])
def test_a_revocation_that_is_not_verified_spares_other_accounts_of_the_user(name):
    profile = packaged_profile(name)
    if not profile.is_verified("revocation.scope"):
        assert profile.revocation.scope == "user_and_client"


@pytest.mark.parametrize("name", TABLES)
def test_a_refresh_goes_to_a_host_of_the_provider_alone(name):
    """A client secret is sent there, so a value that a user may have typed must not choose the domain."""
    if name == "gitlab":
        return  # a self-managed instance has any host; `about` says that users must not choose it
    table = TABLES[name]
    fixed = table.get("token_url", "https://none.example/").split("/")[2]
    for variable, facts in table.get("variables", {}).items():
        if fixed == f"{{{variable}}}":
            assert facts["pattern"].endswith((r"\.com", ")")), "the domain must stand in the pattern"
            assert not packaged_profile(name).variables[variable].accepts("evil.example")
            assert (
                not packaged_profile(name)
                .variables[variable]
                .accepts(f"{facts.get('default', 'acme.okta.com')}.evil.example")
            )
