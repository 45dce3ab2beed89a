"""Both packages have the version of the distribution that they came with."""

from importlib import metadata

import vault_adapters
import vault_domain


def test_the_version_is_that_of_the_distribution():
    assert vault_domain.__version__ == metadata.version("token-vault")
    assert vault_adapters.__version__ is vault_domain.__version__


def test_it_stays_out_of_star_imports():
    assert "__version__" not in {*vault_domain.__all__, *vault_adapters.__all__}
