"""`providers`: shows the profiles of providers, with their sources."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.failures import complain
from vault_adapters.cli.parameters import Json
from vault_adapters.cli.refreshers import Refreshers, load_if_named
from vault_adapters.cli.screen import Cell, Content, open_screen, print_json
from vault_adapters.providers.profiled import Discovering
from vault_adapters.providers.profiles import Profile, load_profile, packaged_profile, profiles
from vault_adapters.providers.profiles.shown import (
    duration,
    errors,
    facts,
    limits,
    plain,
    revocation,
    rotation,
    unverified,
)
from vault_domain import ConfigurationError, InvalidInputError

_COLUMNS = (
    "name",
    "title",
    "rotation",
    "access token",
    "idle life",
    "revocation ends",
    "limits",
    "unverified",
    "checked",
)

Check = Annotated[Path | None, Parameter(help="A profile of your own: say what is wrong with this file, or show it.")]
Name = Annotated[str | None, Parameter(help="The profile to show with its sources; without a name, all are listed.")]


def providers(name: Name = None, /, *, check: Check = None, refreshers: Refreshers = None, json: Json = False) -> None:
    """List the providers that the vault knows, or show one of them with the sources of its facts.

    With refreshers, these are also the host's own providers, by the names of its refreshers. It needs no database and
    no configuration.
    """
    if check is not None:
        if name is not None:
            raise InvalidInputError("name a provider, or pass --check")
        profile = load_profile(check)
        _print_one(profile, json=json)
        if profile.request.grant == "refresh_token" and (lacking := profile.lacking()):
            complain(f"accounts cannot be connected with this profile: it lacks {', '.join(lacking)}")
    elif name is not None:
        _print_one(_own(refreshers).get(name) or packaged_profile(name), json=json)
    else:
        found = {each: packaged_profile(each) for each in profiles()} | _own(refreshers)
        if json:
            print_json([plain(found[each]) for each in sorted(found)])
        else:
            open_screen().table(_COLUMNS, [_row(each, found[each]) for each in sorted(found)])


def _own(place: str | None) -> dict[str, Profile]:
    """Return the profiles of the host's refreshers, by the names of the refreshers; complain of those not to be had."""
    found = {}
    for name, refresher in (load_if_named(place) or {}).items():
        try:
            profile = asyncio.run(_profile_of(refresher))
        except ConfigurationError as error:
            complain(f"{name}: {error}")
        else:
            found[name] = profile
    return {name: profile for name, profile in found.items() if isinstance(profile, Profile)}


async def _profile_of(refresher: object) -> object:
    known = await refresher.discovered() if isinstance(refresher, Discovering) else refresher
    return getattr(known, "profile", None)


def _print_one(profile: Profile, *, json: bool) -> None:
    if json:
        print_json(plain(profile))
    else:
        _show(profile)


def _row(name: str, profile: Profile) -> list[Content]:
    return [
        name,
        profile.title,
        rotation(profile),
        duration(profile.answer.default_lifetime),
        duration(profile.rotation.idle),
        revocation(profile),
        limits(profile),
        unverified(profile),
        profile.checked.isoformat(),
    ]


def _show(profile: Profile) -> None:
    screen = open_screen()
    screen.fields([("name", profile.name), ("title", profile.title), ("checked", profile.checked.isoformat())])
    rows: list[list[Content]] = [[name, _source(profile, name), value] for name, value in facts(profile)]
    screen.heading("Facts")
    screen.table(["fact", "source", "value"], rows)
    if profile.errors.rules:
        screen.heading("Errors", f"source: {_source(profile, 'errors.rules').text}")
        screen.table(["the provider says", "it means"], errors(profile))
    if profile.variables:
        screen.heading("Variables")
        screen.fields([(name, variable.about) for name, variable in profile.variables.items()])
    if profile.quirks:
        screen.heading("Quirks")
        for quirk in profile.quirks:
            screen.text(quirk)
    screen.heading("Sources")
    for number, page in enumerate(profile.docs, 1):
        screen.text(f"[{number}] {page}")


def _source(profile: Profile, fact: str) -> Cell:
    if not profile.is_verified(fact):
        return Cell("unverified", "warning")
    own = profile.sources_of(fact)
    return Cell("docs" if own == profile.docs else " ".join(own), "quiet")
