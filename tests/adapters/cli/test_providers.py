"""`providers` shows what the profiles say, without any configuration."""

import json

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
