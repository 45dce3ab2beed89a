"""Converts a `Home` to and from columns of both stores."""

import json
from typing import Any

from vault_domain.entities.home import Home


def home_of(places: Any, deployment: Any) -> Home:
    """Return the home from the columns of a row; from a damaged row, a home that is nowhere."""
    try:
        names = json.loads(places)
    except (TypeError, ValueError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = ["damaged"]
    return Home(tuple(names), deployment if isinstance(deployment, str) else None)


def home_columns(home: Home, instead: Home | None = None, *, anyway: bool = False) -> dict[str, Any]:
    """Return the parameters of the statement that records a home in place of another one, or of any (``anyway``)."""
    return {
        "places": _text(home),
        "deployment": home.deployment,
        "anyway": anyway,
        "instead_places": None if instead is None else _text(instead),
        "instead_deployment": None if instead is None else instead.deployment,
    }


def _text(home: Home) -> str:
    return json.dumps(home.places)
