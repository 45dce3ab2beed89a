"""Draws the architecture from the imports in src; `python -m tests.architecture.picture` writes the picture anew.

This module fixes where each part stands. The arrows, and which ports stand beside which adapters, are read from the
source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import wrap

from tests.architecture.implementing import read_implementations
from tests.architecture.imports import Imports, read_contents, read_imports
from tests.architecture.svg import arrow, document, rectangle, text
from tests.architecture.tree import ROOT

PICTURE = ROOT / "docs" / "explanation" / "architecture.svg"
TITLE = "Which part of src imports which: the rooms of vault_domain, and the folders of vault_adapters beside them"

ROOMS = {
    "facade": "what a host calls",
    "services": "use cases; await ports only",
    "memory": "what this process knows",
    "ports": "what it needs, a file per port",
    "transitions": "what becomes of an account",
    "rules": "pure; now is an argument",
    "entities": "frozen values and errors",
}
"""The folders of the domain from top to bottom, with the text in their boxes."""

FOLDERS = {
    "cli": "the command token-vault",
    "clients": "auth for HTTP; takes any vault",
    "connect": "connects accounts; pages",
    "sync": "the vault without an event loop",
    "testing": "for hosts' tests; the contract",
    "web": "the dashboard, to be mounted",
    "composition": "open_vault: wires everything",
    "stores.postgres": "psycopg and SQL files",
    "stores.sqlite": "aiosqlite and SQL files",
    "stores": "what both stores share",
    "crypto": "envelopes, data keys, master keys",
    "providers": "refreshers",
    "runtime": "tasks, journal, worker",
    "telemetry": "OpenTelemetry: metrics and spans",
    "importing": "dumps of other systems",
    "configuration": "VaultConfig and the environment",
}
"""The folders of the adapters from top to bottom, with the text in their boxes."""

_LISTED = ("facade", "services", "rules")
"""The rooms whose modules and folders are few enough to be named in their boxes."""

BESIDE_PORTS = {"stores.postgres": "stores", "stores.sqlite": "stores", "crypto": "crypto"} | {
    name: name for name in ("providers", "runtime", "telemetry")
}
"""The folders beside the ports that they implement, each with the name of its place; two folders may share a place."""

_WIDTH, _TOP, _BOX, _STEP = 1065, 92, 42, 52
_ROOM_X, _ROOM_END = 78, 400
_FOLDER_X, _FOLDER_END = 566, 822
_LANE = 22
_LISTED_LETTERS, _LISTED_STEP = 41, 16
"""The most letters in a line of names, and the distance between two such lines."""

_MORE_ABOVE = {"composition": 8, "stores.postgres": 128, "crypto": 10, "importing": 82, "configuration": 78}
_HEIGHTS = {"composition": 66}
_OFFSETS = {"facade": -13, "services": -6.5, "memory": -3, "ports": 0, "transitions": 4, "rules": 8, "entities": 13}
_Y = {
    name: _TOP
    + number * _STEP
    + sum(more for above, more in _MORE_ABOVE.items() if above in list(FOLDERS)[: number + 1])
    for number, name in enumerate(FOLDERS)
}
"""The upper edge of each folder's box."""

_PORTS_Y = _Y["stores.postgres"] - 40
_ROOM_BOXES = {
    "facade": (_Y["cli"], _Y["clients"] + _BOX),
    "services": (_Y["sync"], _Y["composition"] + _HEIGHTS["composition"]),
    "memory": (_PORTS_Y - 62, _PORTS_Y - 20),
    "ports": (_PORTS_Y, _Y["telemetry"] + _BOX + 10),
    "transitions": (_Y["importing"] - 60, _Y["importing"] - 18),
    "rules": (_Y["importing"], _Y["configuration"] - (_STEP - _BOX)),
    "entities": (_Y["configuration"], _Y["configuration"] + _BOX),
}
"""The upper and lower edge of each room's box."""


def draw(imports: Imports, implementations: Mapping[str, frozenset[str]], contents: Mapping[str, Sequence[str]]) -> str:
    """Return the picture.

    Args:
        imports: which part imports which.
        implementations: by port, the parts that implement it.
        contents: by room, its modules and folders.

    Raises:
        ValueError: a part has no place in the picture, a place has no part, a port has no folder of `BESIDE_PORTS` that
            implements it, or a room's modules do not fit into its box.
    """
    _check(imports, implementations)
    inner, outer = _split(imports)
    bottom = _Y["configuration"] + _BOX
    shapes = [*_frames(bottom), *_skipping(inner), *_into_rooms(outer), *_among_folders(outer)]
    shapes += [shape for name in ROOMS for shape in _room(name, contents.get(name, ()))]
    shapes += [shape for name in FOLDERS for shape in _folder(name)]
    shapes += [*_steps(inner), *_port_groups(implementations, outer)]
    legend = "An arrow leads from who imports to what is imported; its colour is that of the room where it ends."
    shapes.append(text(24, bottom + 48, legend, "quiet"))
    return document(_WIDTH, bottom + 70, TITLE, shapes)


def _check(imports: Imports, implementations: Mapping[str, frozenset[str]]) -> None:
    placed = {f"vault_domain.{name}" for name in ROOMS} | {f"vault_adapters.{name}" for name in FOLDERS}
    if placed != imports.parts:
        raise ValueError(f"parts without a place here, or places without a part: {sorted(placed ^ imports.parts)}")
    lonely = [port for port, parts in implementations.items() if _place_of(parts) is None]
    if lonely:
        raise ValueError(f"no folder of BESIDE_PORTS in picture.py implements {lonely}")


def _split(imports: Imports) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return the arrows inside the domain, and those that leave a folder of the adapters."""
    short = {(one.split(".", 1)[1], other.split(".", 1)[1]) for one, other in imports.arrows}
    return {pair for pair in short if pair[0] in ROOMS}, {pair for pair in short if pair[0] in FOLDERS}


def _place_of(parts: frozenset[str]) -> str | None:
    names = [name for name in BESIDE_PORTS if f"vault_adapters.{name}" in parts]
    return BESIDE_PORTS[names[0]] if names else None


def _frames(bottom: float) -> list[str]:
    return [
        rectangle(20, 24, _ROOM_END - 8, bottom, "frame", radius=9),
        text(36, 54, "vault_domain", bold=True, mono=True, size=15),
        text(36, 74, "pure: no I/O, no clock, no event loop", "quiet"),
        rectangle(_FOLDER_X - 20, 24, _WIDTH - _FOLDER_X, bottom, "frame", radius=9),
        text(_FOLDER_X - 8, 54, "vault_adapters", bold=True, mono=True, size=15),
        text(_FOLDER_X - 8, 74, "everything that touches the world", "quiet"),
        text(_FOLDER_X, _Y["stores.postgres"] - 12, "beside the ports they implement", "quiet"),
    ]


def _room(name: str, contents: Sequence[str]) -> list[str]:
    top, bottom = _ROOM_BOXES[name]
    listed = wrap(", ".join(contents), _LISTED_LETTERS) if name in _LISTED else []
    first = top + 25 if name == "ports" else (top + bottom - _LISTED_STEP * len(listed)) / 2 + 5
    if name != "ports" and first < top + 12:
        raise ValueError(f"the box of {name} is too small for its modules")
    return [
        rectangle(_ROOM_X, top, _ROOM_END - _ROOM_X, bottom - top, "box"),
        rectangle(_ROOM_X, top, 5, bottom - top, f"{name}-head", radius=2),
        text(_ROOM_X + 16, first, name, bold=True, mono=True, size=14.5),
        text(_ROOM_X + 124, first, ROOMS[name], "quiet"),
        *(
            text(_ROOM_X + 16, first + 1 + _LISTED_STEP * number, line, mono=True, size=11.5)
            for number, line in enumerate(listed, 1)
        ),
    ]


def _folder(name: str) -> list[str]:
    y = _Y[name]
    middle = y + _height(name) / 2
    return [
        rectangle(_FOLDER_X, y, _FOLDER_END - _FOLDER_X, _height(name), "box"),
        text(_FOLDER_X + 14, middle - 3, name.replace(".", "/"), bold=True, mono=True, size=14.5),
        text(_FOLDER_X + 14, middle + 13, FOLDERS[name], "quiet"),
    ]


def _height(name: str) -> float:
    return _HEIGHTS.get(name, _BOX)


def _steps(inner: set[tuple[str, str]]) -> list[str]:
    """Return the arrows from each room to the one below it."""
    x = (_ROOM_X + _ROOM_END) / 2
    return [
        arrow((x, _ROOM_BOXES[one][1]), None, (x, _ROOM_BOXES[other][0]), other)
        for one, other in pairwise(ROOMS)
        if (one, other) in inner
    ]


def _skipping(inner: set[tuple[str, str]]) -> list[str]:
    """Return the arrows on the left: those that pass by a room, and any that point upwards."""
    names = list(ROOMS)
    passing = [pair for pair in sorted(inner) if names.index(pair[1]) - names.index(pair[0]) != 1]
    shapes = []
    for one, other in passing:
        top, bottom = _ROOM_BOXES[one]
        lane = 40 + 12 * (len(names) - 1 - names.index(other))
        start = (_ROOM_X, (top + bottom) / 2 + _OFFSETS[other])
        shapes.append(arrow(start, lane, (_ROOM_X, sum(_ROOM_BOXES[other]) / 2 + 4), other))
    return shapes


def _into_rooms(outer: set[tuple[str, str]]) -> list[str]:
    """Return the arrows from folders into rooms: one lane for each room, between the two frames."""
    shapes = []
    for number, room in enumerate(ROOMS):
        lane = _ROOM_END + 44 + number * _LANE
        top, bottom = _ROOM_BOXES[room]
        arrival = top + 20 if room == "ports" else (top + bottom) / 2
        for name in FOLDERS:
            if (name, room) in outer and not (room == "ports" and name in BESIDE_PORTS):
                start = (_FOLDER_X, _Y[name] + _height(name) / 2 + _OFFSETS[room])
                shapes.append(arrow(start, lane, (_ROOM_END, arrival), room))
    return shapes


def _among_folders(outer: set[tuple[str, str]]) -> list[str]:
    """Return the arrows from folder to folder: one lane for each target, on the right."""
    names = list(FOLDERS)
    targets = [name for name in names if any(other == name for _, other in outer)]
    lanes = {name: _FOLDER_END + 24 + number * 14 for number, name in enumerate(targets)}
    shapes = []
    for one in names:
        wanted = [other for other in targets if (one, other) in outer]
        for number, other in enumerate(reversed(wanted)):
            start = (_FOLDER_END, _Y[one] + 6 + number * 30 / max(len(wanted) - 1, 1))
            # A taller box has many arrows, so the incoming arrows end below the outgoing ones.
            arrival = _Y[other] + (_BOX / 2 if other not in _HEIGHTS else _height(other) - 12)
            shapes.append(arrow(start, lanes[other], (_FOLDER_END, arrival), "adapters"))
    return shapes


def _port_groups(implementations: Mapping[str, frozenset[str]], outer: set[tuple[str, str]]) -> list[str]:
    """Return the ports, grouped by the folders that implement them, with arrows from these folders."""
    shapes = []
    for place in dict.fromkeys(BESIDE_PORTS.values()):
        folders = [name for name in BESIDE_PORTS if BESIDE_PORTS[name] == place]
        ports = sorted(port for port, parts in implementations.items() if _place_of(parts) == place)
        top = _Y[folders[0]]
        bottom = _Y["stores" if place == "stores" else place] + _BOX
        shapes.append(rectangle(_ROOM_X + 16, top, _ROOM_END - _ROOM_X - 28, bottom - top, "frame", radius=5))
        first = (top + bottom) / 2 - 9 * (len(ports[::2]) - 1) + 4
        for number, port in enumerate(ports):
            x = _ROOM_X + 25 + number % 2 * 144
            shapes.append(text(x, first + number // 2 * 18, port, mono=True, size=12.5))
        for name in folders:
            if (name, "ports") in outer:
                y = _Y[name] + _BOX / 2
                shapes.append(arrow((_FOLDER_X, y), None, (_ROOM_END - 12, y), "ports"))
    return shapes


def redraw(path: Path = PICTURE) -> None:
    """Write the picture of the source as it is."""
    path.write_text(draw(read_imports(), read_implementations(), read_contents()), encoding="utf-8")


if __name__ == "__main__":
    redraw()
