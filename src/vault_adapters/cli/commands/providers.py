"""`providers`: shows the profiles of providers, with their sources."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from vault_adapters.cli.parameters import Json
from vault_adapters.cli.screen import Cell, Content, open_screen, print_json
from vault_adapters.providers.profiles import Profile, packaged_profile, profiles
from vault_adapters.providers.profiles.shown import duration, errors, facts, limits, plain, revocation, rotation

_COLUMNS = ("name", "title", "rotation", "access token", "idle life", "revocation ends", "limits", "checked")

Name = Annotated[str | None, Parameter(help="The profile to show with its sources; without a name, all are listed.")]


def add_to(app: App) -> None:
    """Add this module's command."""
    app.command(providers)


def providers(name: Name = None, /, *, json: Json = False) -> None:
    """List the providers that the vault knows, or show one of them with the sources of its facts.

    It needs no database and no configuration.
    """
    found = [packaged_profile(each) for each in ([name] if name is not None else profiles())]
    if json:
        documents = [plain(profile) for profile in found]
        print_json(documents if name is None else documents[0])
    elif name is None:
        open_screen().table(_COLUMNS, [_row(profile) for profile in found])
    else:
        _show(found[0])


def _row(profile: Profile) -> list[Content]:
    return [
        profile.name,
        profile.title,
        rotation(profile),
        duration(profile.answer.default_lifetime),
        duration(profile.rotation.idle),
        revocation(profile),
        limits(profile),
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
