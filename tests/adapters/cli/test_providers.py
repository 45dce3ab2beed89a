"""`providers` shows what the profiles say, without any configuration."""

import json
from pathlib import Path

import pytest

from vault_adapters.providers import profiles


def test_all_are_listed(bare):
    lines = bare("providers").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == profiles()
    assert [each["name"] for each in json.loads(bare("providers", "--json").out)] == profiles()


def test_one_is_shown_with_its_sources(bare):
    shown = bare("providers", "zoho").out
    assert "10 minutes" in shown
    assert "unverified" in shown
    assert "https://www.zoho.com/accounts/protocol/oauth/" in shown
    found = json.loads(bare("providers", "zoho", "--json").out)
    assert (found["limits"]["requests"], found["limits"]["per"], found["checked"][:4]) == (10, 600.0, "2026")


def test_an_unknown_name_is_refused_and_not_repeated(bare):
    result = bare("providers", "a-secret")
    assert result.code == 3
    assert "google" in result.stderr
    assert "a-secret" not in result.stderr


EXAMPLE = Path(__file__).parents[3] / "docs" / "how-to" / "example-provider.toml"
HOST = """
from pathlib import Path, PosixPath
from vault_adapters.providers import OAuth2Refresher, refresher
own = {{"shop": refresher({path!r}, "client", "secret"), "plain": OAuth2Refresher("https://acme.example", "id", "s")}}
none = {{}}
"""


def test_a_profile_of_ones_own_is_checked(bare):
    found = bare("providers", "--check", str(EXAMPLE))
    assert (found.code, found.stderr) == (0, "")
    shown = json.loads(bare("providers", "--check", str(EXAMPLE), "--json").out)
    assert shown["name"] in found.out
    unconnectable = bare.folder / "unconnectable.toml"
    lines = EXAMPLE.read_text().splitlines()
    unconnectable.write_text("\n".join(line for line in lines if not line.startswith("authorization_url")))
    told = bare("providers", "--check", str(unconnectable))
    assert (told.code, "cannot be connected with this profile: it lacks authorization_url" in told.stderr) == (0, True)
    wrong = bare.folder / "wrong.toml"
    wrong.write_text(EXAMPLE.read_text().replace("title =", "tittle ="))
    refused = bare("providers", "--check", str(wrong))
    assert (refused.code, refused.out) == (3, "")
    assert "wrong.toml: tittle: unknown key" in refused.stderr
    both = bare("providers", "google", "--check", str(EXAMPLE))
    assert (both.code, "pass --check" in both.stderr) == (2, True)


@pytest.fixture
def host(bare):
    (bare.folder / "own_host.py").write_text(HOST.format(path=EXAMPLE))
    return bare


def test_the_hosts_own_providers_are_listed_and_shown_too(host):
    listed = [line.split()[0] for line in host("providers", "--refreshers", "own_host:own").out.splitlines()[1:]]
    assert listed == sorted([*profiles(), "shop"])
    shown = host("providers", "shop", "--refreshers", "own_host:own", "--json")
    assert json.loads(shown.out) == json.loads(host("providers", "--check", str(EXAMPLE), "--json").out)
    assert host("providers", "shop").code == 3


def test_a_host_may_have_no_refreshers(host):
    done = host("providers", "--refreshers", "own_host:none")
    assert (done.code, len(done.out.splitlines())) == (0, 1 + len(profiles()))
    assert host("providers", "--refreshers", "own_host:EXAMPLE").code == 3
