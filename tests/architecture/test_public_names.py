"""A host imports from one place: vault_adapters has every public name of vault_domain, and they are the same."""

import vault_adapters
import vault_domain


def test_every_public_name_of_the_domain_is_re_exported():
    assert set(vault_domain.__all__) - set(vault_adapters.__all__) == set()


def test_they_are_the_same_objects():
    differing = [n for n in vault_domain.__all__ if getattr(vault_adapters, n) is not getattr(vault_domain, n)]
    assert differing == []


def test_every_public_name_exists_once():
    for package in (vault_adapters, vault_domain):
        assert len(package.__all__) == len(set(package.__all__))
        assert [name for name in package.__all__ if not hasattr(package, name)] == []
