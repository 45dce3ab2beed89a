"""Installing the package brings few others with it, because a host has to trust and update each of them."""

import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from tests.release.lock import ROOT, normalised

pytestmark = pytest.mark.releases

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def installed_with(extra):
    """The distributions that ``pip install '.[extra]'`` installs here, by their metadata, the package included."""
    found = {normalised(PROJECT["name"])}
    todo = [Requirement(each) for each in PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(extra, [])]
    seen = set()
    while todo:
        requirement = todo.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found.add(normalised(requirement.name))
        for text in metadata.requires(requirement.name) or []:
            below = Requirement(text)
            wanted = requirement.extras | {""}
            if below.marker is None or any(below.marker.evaluate({"extra": each}) for each in wanted):
                todo.append(below)
    return found


@pytest.mark.parametrize(("extra", "most"), [("", 9), ("postgres", 13)])
def test_few_packages_are_installed(extra, most):
    found = installed_with(extra)
    assert {"token-vault", "attrs", "cryptography", "aiosqlite", "anyio"} <= found
    assert len(found) <= most, sorted(found)
