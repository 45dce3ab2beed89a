"""The kinds of providers that the packaged profiles describe, so that the simulation plays providers that hosts use."""

from vault_adapters.providers.profiles import packaged_profile, profiles

PLAYED_BY_HAND = {"microsoft": "renews_freely"}
"""Profiles whose providers do more than a profile can say; the kind of each is written by hand."""

_GRANTS = {"refresh_token": "oauth2", "client_credentials": "client_credentials", "api_key": "client_credentials",
           "access_token": "meta"}  # fmt: skip
_HOUR = 3600.0
_PREFIX = "like_"


def kinds_of_profiles(kind):
    """Return the kinds by name, and the name of the kind that plays each profile.

    Profiles of the same behaviour share a kind, which has the name of the first one.

    Args:
        kind: the class to make them of.
    """
    kinds, played_by, named = {}, dict(PLAYED_BY_HAND), {}
    for name in profiles():
        found = behaviour(packaged_profile(name))
        if found is None or name in played_by:
            continue
        played_by[name] = named.setdefault(found, _PREFIX + name)
        kinds.setdefault(named[found], kind(named[found], **dict(found)))
    return kinds, played_by


def behaviour(profile):
    """Return what a profile says of its provider's tokens, as fields of a kind; None if it has nothing to refresh."""
    grant = _GRANTS.get(profile.request.grant)
    rotation = profile.rotation
    if grant is None or rotation.kind == "none":
        return None
    stays = rotation.kind == "non_rotating"
    lifetime = _seconds(profile.answer.default_lifetime) or _HOUR
    fields = {
        "grant": grant,
        "rotation": rotation.kind,
        "rotates": 0.0 if stays else 1.0,
        "grace": None if stays else _seconds(rotation.grace) or 0.0,
        "revokes": not stays,
        "lifetime": lifetime,
        "old_token_dies": rotation.old_token_dies,
        "idle": _seconds(rotation.idle),
        "absolute": _seconds(rotation.absolute),
        "days": _days(lifetime),
    }
    return tuple(fields.items())


def _seconds(duration):
    return None if duration is None else duration.total_seconds()


def _days(lifetime):
    """Return how many days a world lasts: for some dozens of refreshes, or for two if tokens last for months."""
    in_days = lifetime / (24 * _HOUR)
    return 150.0 if in_days > 30 else min(max(24 * in_days, 0.5), 20.0)
