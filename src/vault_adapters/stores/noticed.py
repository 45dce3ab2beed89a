"""A store whose reads and writes of tokens this process remembers."""

from __future__ import annotations

from attrs import frozen

from vault_adapters.stores.port import Store
from vault_domain.ports.account_repository import AccountRepository
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.importing import ImportRepository
from vault_domain.ports.key_repository import KeyRepository
from vault_domain.ports.key_rotation import KeyRotationRepository
from vault_domain.ports.refresh_ledger import RefreshLedger
from vault_domain.ports.tenant_eraser import TenantEraser
from vault_domain.ports.token_repository import TokenRepository
from vault_domain.services.tokens.noticing import noticing
from vault_domain.services.tokens.remembered import RememberedRows


@frozen
class NoticedStore:
    """Implements `Store`."""

    tokens: TokenRepository
    accounts: AccountRepository
    keys: KeyRepository
    audit: AuditLog
    refreshes: RefreshLedger
    key_rotation: KeyRotationRepository
    eraser: TenantEraser
    imports: ImportRepository


def noticed(store: Store, rows: RememberedRows) -> NoticedStore:
    """Return the same store, which tells ``rows`` what this process reads and writes."""
    ports = noticing(
        rows,
        tokens=store.tokens,
        accounts=store.accounts,
        refreshes=store.refreshes,
        eraser=store.eraser,
        imports=store.imports,
    )
    return NoticedStore(
        tokens=ports.tokens,
        accounts=ports.accounts,
        keys=store.keys,
        audit=store.audit,
        refreshes=ports.refreshes,
        key_rotation=store.key_rotation,
        eraser=ports.eraser,
        imports=ports.imports,
    )
