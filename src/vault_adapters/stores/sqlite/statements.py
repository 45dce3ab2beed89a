"""Loads the store's statements and fills in the SQL that several of them share."""

from functools import cache

from vault_adapters.stores.columns import ACCOUNT, MOST_BLOB, MOST_EXTRA, OWNER, limited, with_limits
from vault_adapters.stores.queries import Queries, load_queries

# A damaged row may hold a text in place of a sealed value. The cast reads it as bytes.
_VALUE_COLUMNS = (
    f"t.data_key_id, CASE WHEN length(t.blob) <= {MOST_BLOB} THEN CAST(t.blob AS BLOB) END,"
    f" CASE WHEN length(t.extra) > {MOST_EXTRA} THEN x'' ELSE CAST(t.extra AS BLOB) END"
)

_LEASE_TIMES = {"a.lease_until", "a.sent_at", "a.next_attempt_at", "a.unknown_since", "a.refused_since"}

_STEP = "vault_clock_step(a.boot_id, a.clock_offset)"
"""Microseconds by which the machine's clock was set forward since the times of the account ``a`` were written; negative
if the clock was set back."""

_DATA_KEY_EVENT = """(
    SELECT min(e.action) FROM token_vault_audit_event e
    WHERE e.tenant_id = d.tenant_id AND e.code = lower(hex(d.data_key_id))
        AND e.action IN ('data_key_replaced', 'data_key_destroyed'))"""
"""The action that confirms a state of the data key ``d``: data_key_destroyed before data_key_replaced, or NULL."""

_LAST_EVENT = """(
    SELECT e.action FROM token_vault_audit_event e
    WHERE e.tenant_id IS NULL AND e.code = lower(hex(m.master_key_id))
        AND e.action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired')
    ORDER BY e.seq DESC LIMIT 1)"""
"""The action of the last event about the master key ``m``."""

_LAST_ACTIVATED = """(
    SELECT e.code FROM token_vault_audit_event e
    WHERE e.tenant_id IS NULL AND e.action = 'master_key_activated'
        AND e.action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired')
    ORDER BY +e.seq DESC LIMIT 1)"""
"""The id, in hex, of the master key that was activated last.

The plus sign before ``e.seq`` keeps SQLite from reading the whole log in the order of ``seq``.
"""

_USABLE_WRAP = """EXISTS (
        SELECT 1 FROM token_vault_master_key m
        WHERE m.master_key_id = w.master_key_id AND m.state != 'retired'
            AND coalesce({{last_event}}, '') != 'master_key_retired')"""
"""Whether the wrap ``w`` is under a master key that was not retired.

Processes that opened the vault before the retirement still have the retired master key. Without this condition,
somebody who knows the secret of this master key could wrap a data key of their own, and these processes would unwrap
that data key.
"""

_AFTER_ACCOUNT = """(tenant_id, provider, identifier) > (:after_tenant_id, :after_provider, :after_identifier)
                AND (:provider IS NULL OR provider = :provider)"""
"""Whether an account of any tenant comes after a position in a list, and is at the wanted provider."""

_VERSION = "(SELECT data_version FROM pragma_data_version)"
"""A number that changes with every commit of another connection. A statement sees the number that belongs to the rows
that it reads."""


@cache
def load_statements(*, versioned: bool = True) -> Queries:
    """Return the statements.

    Args:
        versioned: whether the statements that read tokens return the version of the file; else they return NULL. The
            version says nothing if the connection that reads is also the one that writes.
    """
    return load_queries(
        "vault_adapters.stores.sqlite",
        size="length",
        version=_VERSION if versioned else "NULL",
        value_columns=_VALUE_COLUMNS,
        account_columns=with_limits(
            ", ".join(f"{name} + {_STEP}" if name in _LEASE_TIMES else limited(name) for name in ACCOUNT), "length"
        ),
        step=_STEP,
        after_account=_AFTER_ACCOUNT,
        first_owners=f"ORDER BY {OWNER} LIMIT :limit",
        usable_wrap=_USABLE_WRAP.replace("{{last_event}}", _LAST_EVENT),
        data_key_event=_DATA_KEY_EVENT,
        last_event=_LAST_EVENT,
        last_activated=_LAST_ACTIVATED,
    )
