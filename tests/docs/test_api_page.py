"""The pages about the Python interface have every public name once, `open_vault` first and the exceptions last."""

import re
from pathlib import Path

import pytest

import vault_adapters
from vault_adapters import Tuning, VaultConfig, VaultError, clients, connect, providers, testing, web
from vault_adapters.testing import openid

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
NAMES = re.findall(r"^api/\w+$", (REFERENCE / "api.md").read_text(), re.MULTILINE)
PAGE = "\n".join((REFERENCE / f"{name}.md").read_text() for name in NAMES)
SHOWN = re.findall(r"^\.\. auto(?:class|function|data):: vault_adapters\.([\w.]+)$", PAGE, re.MULTILINE)


def test_every_public_name_is_shown_once():
    wanted = set(vault_adapters.__all__)
    for package in (connect, providers, testing, openid, web):
        short = package.__name__.removeprefix("vault_adapters.")
        wanted |= {f"{short}.{name}" for name in package.__all__ if name != "presets"}
    assert wanted - set(SHOWN) == set()
    assert len(SHOWN) == len(set(SHOWN))


def test_each_page_is_listed():
    assert sorted(NAMES) == sorted(f"api/{path.stem}" for path in (REFERENCE / "api").glob("*.md"))


def test_every_client_is_shown():
    folder = Path(clients.__file__).parent
    public = {path.stem for path in folder.glob("*.py") if re.search(r"^class Vault", path.read_text(), re.MULTILINE)}
    assert {name.split(".")[1] for name in SHOWN if name.startswith("clients.")} == public


def test_the_first_and_the_last():
    assert SHOWN[0] == "open_vault"
    errors = [name for name in SHOWN if is_error(getattr(vault_adapters, name, None))]
    assert SHOWN[-len(errors) :] == errors


def is_error(value):
    return isinstance(value, type) and issubclass(value, VaultError)


@pytest.mark.parametrize("owner", [VaultConfig, Tuning])
def test_a_page_names_the_class_that_has_the_field(owner):
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = re.compile(rf"\b{owner.__name__}\.([a-z]\w+)")
    said = {(page.name, name) for page in pages for name in named.findall(page.read_text(encoding="utf-8"))}
    assert {each for each in said if not hasattr(owner, each[1])} == set()
