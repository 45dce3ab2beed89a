"""On a package index, the description's links lead to the repository, and its images are shown."""

import re
import shutil
import tomllib

import pytest
from tests.release.index_page import ROOT, absolute_links, main

ADDRESS = "https://example.org/token-vault"


@pytest.fixture
def clone(tmp_path):
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    assert main([ADDRESS], tmp_path) == 0
    return tmp_path


def test_every_link_of_the_description_is_absolute_and_leads_to_a_file(clone):
    targets = re.findall(r"\]\(([^)]+)\)", (clone / "README.md").read_text())
    assert len(targets) > 20
    own = re.compile(r"https://.*?/(?:blob|raw)/v[^/]+/([^#]+)")
    files = [found[1] for target in targets if (found := own.match(target))]
    assert [target for target in targets if not target.startswith("https://")] == []
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert any(name.endswith(".svg") for name in files)


def test_an_image_is_the_file_and_a_link_is_its_page():
    text = "![a [b] c](docs/a.svg) [d](docs/d.md#e) [f](#g) [h](https://example.com)"
    assert absolute_links(text, ADDRESS, "v1") == (
        f"![a [b] c]({ADDRESS}/raw/v1/docs/a.svg) [d]({ADDRESS}/blob/v1/docs/d.md#e) [f](#g) [h](https://example.com)"
    )


def test_the_project_names_its_source_and_its_changelog(clone):
    urls = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Changelog"].startswith(f"{urls['Source']}/blob/v")


@pytest.mark.parametrize("arguments", [[], ["http://example.org"], [f"{ADDRESS}/"], [ADDRESS, "more"]])
def test_what_is_no_address_changes_nothing(arguments, tmp_path, capsys):
    assert main(arguments, tmp_path) == 2
    assert capsys.readouterr().err.startswith("give the address")
