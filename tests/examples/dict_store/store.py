"""The store as a whole."""

from contextlib import asynccontextmanager
from uuid import uuid4

from attrs import define
from tests.examples.dict_store.account_states import DictAccountStates
from tests.examples.dict_store.accounts import DictAccountRepository
from tests.examples.dict_store.audit import DictAuditLog
from tests.examples.dict_store.clients import DictClientStates
from tests.examples.dict_store.database import DictDatabase
from tests.examples.dict_store.erasing import DictTenantEraser
from tests.examples.dict_store.importing import DictImportRepository
from tests.examples.dict_store.keys import DictKeys
from tests.examples.dict_store.states import DictStateLedger
from tests.examples.dict_store.tokens import DictTokenRepository
from tests.examples.dict_store.unread import DictUnreadAnswers

from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.account_changes import AccountChanges


@define
class DictStore:
    """The repositories of one database; it has the shape of `Store`."""

    tokens: object
    accounts: object
    changes: object
    keys: object
    audit: object
    refreshes: object
    eraser: object
    imports: object
    clients: object
    states: object
    unread: object


@asynccontextmanager
async def open_dict_store(database: DictDatabase, clock):
    """Open a database as a store; it may be opened several times on one event loop."""
    kinds = (
        DictTokenRepository,
        DictAccountRepository,
        lambda *given: AccountChanges(DictAccountStates(*given), uuid4),
        DictKeys,
        DictAuditLog,
        lambda *given: AttemptLedger(DictAccountStates(*given)),
        DictTenantEraser,
        DictImportRepository,
        DictClientStates,
        DictStateLedger,
        DictUnreadAnswers,
    )
    yield DictStore(*(kind(database, clock) for kind in kinds))
