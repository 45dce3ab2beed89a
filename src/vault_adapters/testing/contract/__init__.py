"""The suite that every store passes. Needs pytest with anyio's plugin, which comes with anyio.

    from vault_adapters.testing.contract import SharedStoreContract

    class TestMyStore(SharedStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda clock: open_my_store(tmp_path / "db", clock=clock)

`open_store` gives a function that opens a `Store` over the test's database. The database is empty when the test begins,
and each call opens the same database. If a database cannot be opened more than once, inherit from `StoreContract`
instead.

The cases come in parts, and each part is a class: ``pytest -k ClaimCases`` runs one part. `PARTS` has the parts in the
order in which a new store makes them pass; the guide "Write a store" has the same order.
"""

import pytest

_MODULES = (
    *("across", "attempts", "audit", "bulk", "clients", "concurrency", "endings"),
    *("events", "extras", "facts", "fixtures", "importing", "isolation", "keys", "listings", "master_keys"),
    *("migrations", "neighbours", "refreshing", "reserving", "revival", "rotation", "sharing", "states"),
    *("sweeps", "tokens", "unread", "uses", "values"),
)
# pytest must rewrite these modules before they are imported, so that failed assertions show their values.
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _MODULES))

from vault_adapters.composition import Store  # noqa: E402
from vault_adapters.testing.contract.across import AcrossCases  # noqa: E402
from vault_adapters.testing.contract.attempts import AttemptCases  # noqa: E402
from vault_adapters.testing.contract.audit import AuditCases  # noqa: E402
from vault_adapters.testing.contract.bulk import BulkCases  # noqa: E402
from vault_adapters.testing.contract.clients import ClientCases  # noqa: E402
from vault_adapters.testing.contract.concurrency import ConcurrencyCases  # noqa: E402
from vault_adapters.testing.contract.endings import EndingCases  # noqa: E402
from vault_adapters.testing.contract.events import EventCases  # noqa: E402
from vault_adapters.testing.contract.extras import ExtraCases  # noqa: E402
from vault_adapters.testing.contract.facts import FactCases  # noqa: E402
from vault_adapters.testing.contract.fixtures import ContractFixtures, OpenStore  # noqa: E402
from vault_adapters.testing.contract.importing import ImportCases  # noqa: E402
from vault_adapters.testing.contract.isolation import IsolationCases  # noqa: E402
from vault_adapters.testing.contract.keys import KeyTableCases  # noqa: E402
from vault_adapters.testing.contract.listings import ListingCases  # noqa: E402
from vault_adapters.testing.contract.migrations import MigrationCases, OlderSchema  # noqa: E402
from vault_adapters.testing.contract.neighbours import NeighbourCases  # noqa: E402
from vault_adapters.testing.contract.reserving import ReserveCases  # noqa: E402
from vault_adapters.testing.contract.revival import RevivalCases  # noqa: E402
from vault_adapters.testing.contract.rotation import DataKeyCases, MasterKeyCases  # noqa: E402
from vault_adapters.testing.contract.sharing import SharingCases  # noqa: E402
from vault_adapters.testing.contract.states import StateCases  # noqa: E402
from vault_adapters.testing.contract.sweeps import SweepCases  # noqa: E402
from vault_adapters.testing.contract.tokens import TokenCases  # noqa: E402
from vault_adapters.testing.contract.unread import UnreadCases  # noqa: E402
from vault_adapters.testing.contract.uses import UseCases  # noqa: E402
from vault_adapters.testing.contract.values import ValueCases  # noqa: E402

__all__ = ["PARTS", "FacadeContract", "OlderSchema", "OpenStore", "SharedStoreContract", "Store", "StoreContract"]


class FacadeContract(
    TokenCases,
    ValueCases,
    UseCases,
    ExtraCases,
    ListingCases,
    AcrossCases,
    IsolationCases,
    EventCases,
    AuditCases,
    DataKeyCases,
    MasterKeyCases,
    ImportCases,
    ConcurrencyCases,
):
    """Cases for a facade other than `TokenVault`: everything that a host sees, except refreshing and `states`.

    Override `open_store` and `vault_over`.
    """


class StoreContract(
    KeyTableCases,
    FacadeContract,
    BulkCases,
    FactCases,
    AttemptCases,
    RevivalCases,
    EndingCases,
    ReserveCases,
    SweepCases,
    ClientCases,
    NeighbourCases,
    StateCases,
    UnreadCases,
    MigrationCases,
):
    """Cases for every store. Override `open_store`; also `check_idle` and `older_schema`, where they apply."""


class SharedStoreContract(StoreContract, SharingCases):
    """Cases for a store whose database several processes may open."""


PARTS: tuple[type[ContractFixtures], ...] = (
    *(KeyTableCases, TokenCases, ValueCases, UseCases, ExtraCases),
    *(ListingCases, AcrossCases, IsolationCases, EventCases, AuditCases),
    *(FactCases, EndingCases, ReserveCases, AttemptCases, SweepCases, RevivalCases),
    ClientCases,
    *(DataKeyCases, MasterKeyCases, ImportCases, BulkCases, NeighbourCases, StateCases),
    *(UnreadCases, ConcurrencyCases, SharingCases, MigrationCases),
)
"""The parts of the suite, in the order in which a new store makes them pass."""
