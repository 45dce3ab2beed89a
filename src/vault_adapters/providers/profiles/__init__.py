"""Profiles: the facts about each provider, as TOML files in ``files`` that anybody can read and check."""

from vault_adapters.providers.profiles.loading import as_profile, load_profile, packaged_profile, profiles
from vault_adapters.providers.profiles.profile import Profile

__all__ = ["Profile", "as_profile", "load_profile", "packaged_profile", "profiles"]
