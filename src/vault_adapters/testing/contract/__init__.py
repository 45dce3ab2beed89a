"""The suite that every store passes. Needs pytest with anyio's plugin, which comes with anyio.

    from vault_adapters.testing.contract import SharedStoreContract

    class TestMyStore(SharedStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda clock: open_my_store(tmp_path / "db", clock=clock)

`open_store` gives a function that opens the same database, empty at the test's begin, as often as it is called; what
it opens offers the ports that `Store` names. A store whose database only its opener sees takes `StoreContract`.
"""

import pytest

_MODULES = (
    *("access", "concurrency", "decryption", "events", "fixtures", "importing", "isolation", "listings", "neighbours"),
    *("rotation", "sharing", "token_sets", "tokens", "values"),
)
# Before the cases are imported, so that their assertions show values when they fail.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _MODULES))

from vault_adapters.composition import Store  # noqa: E402
from vault_adapters.testing.contract.access import AccessCases  # noqa: E402
from vault_adapters.testing.contract.concurrency import ConcurrencyCases  # noqa: E402
from vault_adapters.testing.contract.decryption import DecryptionCases  # noqa: E402
from vault_adapters.testing.contract.events import EventCases  # noqa: E402
from vault_adapters.testing.contract.fixtures import OpenStore  # noqa: E402
from vault_adapters.testing.contract.importing import ImportCases  # noqa: E402
from vault_adapters.testing.contract.isolation import IsolationCases  # noqa: E402
from vault_adapters.testing.contract.listings import ListingCases  # noqa: E402
from vault_adapters.testing.contract.neighbours import NeighbourCases  # noqa: E402
from vault_adapters.testing.contract.rotation import DataKeyCases, MasterKeyCases  # noqa: E402
from vault_adapters.testing.contract.sharing import SharingCases  # noqa: E402
from vault_adapters.testing.contract.token_sets import TokenSetCases  # noqa: E402
from vault_adapters.testing.contract.tokens import TokenCases  # noqa: E402
from vault_adapters.testing.contract.values import ValueCases  # noqa: E402

__all__ = ["OpenStore", "SharedStoreContract", "Store", "StoreContract"]


class StoreContract(
    TokenCases,
    ValueCases,
    AccessCases,
    TokenSetCases,
    ListingCases,
    IsolationCases,
    NeighbourCases,
    DecryptionCases,
    EventCases,
    ImportCases,
    DataKeyCases,
    MasterKeyCases,
    ConcurrencyCases,
):
    """What every store keeps. Override `open_store`, and `check_idle` where the store can tell."""


class SharedStoreContract(StoreContract, SharingCases):
    """And what a store keeps whose database several processes open."""
