"""Loads the store's statements and fills in the SQL that several of them share."""

from datetime import datetime
from functools import lru_cache

from vault_adapters.stores.columns import OWNER, with_limits
from vault_adapters.stores.postgres.account_columns import BINARY_HASH, state_fragments
from vault_adapters.stores.postgres.appending import appending_fragments
from vault_adapters.stores.postgres.citus_statements import distributed_fragments, distributed_queries
from vault_adapters.stores.postgres.notifying import notifying_fragments
from vault_adapters.stores.postgres.schema import quoted
from vault_adapters.stores.postgres.timelines import TIMELINE
from vault_adapters.stores.postgres.versions import NO_VERSION, VERSION
from vault_adapters.stores.queries import Queries, load_queries

_NOW = "coalesce(%(now)b::timestamptz, statement_timestamp())"
"""The store's time: the time of the store's own clock if it has one, else the database's time.

The database's time comes from a function that is not volatile. A volatile function, such as ``clock_timestamp``, would
prevent the use of indexes.
"""

_DURABLE = """CASE
        WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local')
        THEN pg_catalog.set_config('synchronous_commit', 'on', true) END"""
"""Makes the commit of this transaction durable, even if the host's setting allows commits to be lost.

A claim, a rotated refresh token, a rejection and an erasure must survive a crash of the server, and a failover to a
synchronous standby. With ``on``, a commit waits for the server's disk and for the standbys that
``synchronous_standby_names`` names. Values other than ``off`` and ``local`` wait for both already, so they stay. If
this expression is a column of a subquery and nothing reads the column, the planner still keeps it, because
`set_config` is volatile.
"""

_SCHEDULED = """scheduled AS (
    INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
    SELECT s.tenant_id, s.provider, s.identifier, least(
        s.expires_at - %(lead)b::bigint::float8 * interval '1 microsecond',
        s.updated_at + %(due_in)b::bigint::float8 * interval '1 microsecond')
    FROM stored s
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
        WHERE a.due_at IS NULL OR a.due_at > excluded.due_at)"""
"""Sets an account's due time: the value's expiry minus its lead, or the time of storing plus ``due_in``.

The earlier of the two times is taken. If the account has an earlier due time already, this due time stays.
"""

_WOKEN = """scheduled AS (
    UPDATE {{schema}}.account a SET due_at = s.updated_at
    FROM stored s
    WHERE a.tenant_id = s.tenant_id AND a.provider = s.provider AND a.identifier = s.identifier
        AND (a.due_at IS NULL OR a.due_at > s.updated_at))"""
"""Makes an existing account due now.

It is for a value from which no due time follows: the value has no ``due_in``, and lacks its lead, its expiry or both.
"""

_SCHEDULE_TIMED = """INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
    SELECT w.tenant_id, w.provider, w.identifier, coalesce(w.due_at, w.now)
    FROM (
        -- Only access tokens have a lead. If an account's values include an access token, it alone decides due_at.
        SELECT tenant_id, provider, identifier, min(now) AS now, bool_or(is_replaced) AS has_replaced,
            coalesce(min(due_at) FILTER (WHERE lead IS NOT NULL), min(due_at)) AS due_at
        FROM (
            SELECT tenant_id, provider, identifier, now, is_replaced, lead, least(
                coalesce(expires_at, now + lifetime::float8 * interval '1 microsecond')
                    - lead::float8 * interval '1 microsecond',
                now + due_in::float8 * interval '1 microsecond') AS due_at
            FROM timed) t
        GROUP BY tenant_id, provider, identifier) w
    LEFT JOIN {{schema}}.account k
        ON k.tenant_id = w.tenant_id AND k.provider = w.provider AND k.identifier = w.identifier
    WHERE (w.due_at IS NOT NULL OR k.tenant_id IS NOT NULL)
        -- A stored due_at that is not later than the new one stays. If it is also more than an hour away, and a value
        -- has replaced a token of the account, the statement does not lock its row. No sweep stores a later due_at
        -- before the commit, because it does so only for an account that it has reserved, and a reserved account is due
        -- again within half an hour. No deletion deletes the row, because the replaced token is locked and still there.
        -- The hour counts from the present time, because w.now, the time of the first stored value, may be long ago.
        AND NOT coalesce(
            w.has_replaced AND k.due_at > greatest(w.now, {{now}}) + interval '1 hour' AND k.due_at <= w.due_at, false)
    ORDER BY w.tenant_id COLLATE "C", w.provider COLLATE "C", w.identifier COLLATE "C"
    ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
        WHERE a.due_at IS NULL OR a.due_at > excluded.due_at"""
"""Sets the due times of the accounts of many values, which come from the subquery ``timed``.

The column ``is_replaced`` tells whether a value has replaced a token, whose lock was taken before this statement began.

An account becomes due at the time that follows from these values. If none follows, an account that has a row becomes
due at the time of storing, and an account without a row gets none. An earlier due time stays.
"""

_EVENT = with_limits(
    """e.xid::text, e.seq, {{text e.action}}, e.occurred_at, nullif({{text e.tenant_id}}, ''), {{text e.provider}},
    {{text e.identifier}}, {{text e.kind}}, e.generation, {{text e.actor}}, {{text e.code}}, e.credential_generation""",
    "octet_length",
)
"""The columns of a listed audit event ``e``."""

_HORIZON = """coalesce(
        (SELECT r.xid
        FROM pg_catalog.pg_snapshot_xip(pg_catalog.pg_current_snapshot()) r (xid)
        WHERE NOT EXISTS (
                SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid
                WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
                    AND l.transactionid = r.xid::xid
                    AND s.datid <> (
                        SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_prepared_xacts p
                WHERE p.transaction = r.xid::xid AND p.database <> pg_catalog.current_database())
        ORDER BY r.xid
        LIMIT 1),
        pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()))"""
"""The number of the oldest transaction that may still add events which the statement's snapshot does not show.

A snapshot names the running transactions of the whole server. Those of other databases are left out, because they
cannot write here. Every transaction locks its own number until it ends, and any role may see this lock and the database
of the process that holds it. No process holds the lock of a prepared transaction, so its database is looked up in
``pg_prepared_xacts``. A transaction that ended after the snapshot was taken has no lock any more, so its database is
unknown. Such a transaction is not left out, because it may have added events here.
"""

_AFTER = """(
    CASE
        WHEN %(after_xid)b::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())
            OR EXISTS (SELECT 1 FROM {{schema}}.audit_event a WHERE a.xid = '2'::xid8 AND a.seq > %(after_seq)b::bigint)
        THEN '2'::xid8
        ELSE %(after_xid)b::text::xid8 END,
    %(after_seq)b::bigint)"""
"""The position after which a page of audit events begins.

A position may come from another server, whose dump was restored here. Then its transaction number is replaced with 2,
the number that `adopt_audit_events` gave to all restored events. Such a position is recognised because this server has
not reached the position's transaction number yet, or because an event under transaction 2 has a higher seq than the
position.
"""

_DATA_KEY_EVENT = """(
    SELECT min(e.action) FROM {{schema}}.audit_event e
    WHERE e.tenant_id = d.tenant_id AND e.code = encode(d.data_key_id, 'hex')
        AND e.action IN ('data_key_replaced', 'data_key_destroyed'))"""
"""The action that confirms a state of the data key ``d``: data_key_destroyed before data_key_replaced, or NULL."""

_LAST_EVENT = """(
    SELECT e.action FROM {{schema}}.audit_event e
    WHERE e.tenant_id = '' AND e.code = encode(m.master_key_id, 'hex')
        AND e.action IN ('master_key_introduced', 'master_key_activated', 'master_key_retired')
    ORDER BY e.seq DESC LIMIT 1)"""
"""The action of the last event about the master key ``m``.

The order of ``seq`` is the order in which these events were committed, because each transaction that appends one holds
the lock on the table of master keys, so only one such transaction runs at a time.
"""

_LAST_ACTIVATED = """(
    SELECT e.code FROM {{schema}}.audit_event e
    WHERE e.tenant_id = '' AND e.action = 'master_key_activated'
    ORDER BY e.seq DESC LIMIT 1)"""
"""The id, in hex, of the master key that was activated last."""

_DATA_KEYS_OF_PAGE = """{{schema}}.data_key d
    LEFT JOIN {{schema}}.data_key_wrap o
        ON o.tenant_id = d.tenant_id AND o.data_key_id = d.data_key_id AND o.master_key_id = %(master_key_id)b::bytea
    WHERE (d.tenant_id, d.data_key_id) > (%(after_tenant_id)b::text, %(after_data_key_id)b::bytea)
        AND (%(state)b::text IS NULL OR d.state IN (%(state)b::text, %(other_state)b::text))
        AND (%(tenant_id)b::text IS NULL OR d.tenant_id = %(tenant_id)b)
        AND (%(data_key_id)b::bytea IS NULL OR d.data_key_id = %(data_key_id)b)
        AND (%(age)b::bigint IS NULL
            OR d.created_at <= {{now}} - %(age)b::bigint::float8 * interval '1 microsecond')
        AND (%(empty_age)b::bigint IS NULL
            OR d.emptied_at <= {{now}} - %(empty_age)b::bigint::float8 * interval '1 microsecond')
        AND (%(is_emptied)b::bool IS NULL OR %(is_emptied)b::bool = (d.emptied_at IS NOT NULL))
        AND (%(is_wrapped)b::bool IS NULL OR %(is_wrapped)b::bool = (o.master_key_id IS NOT NULL))"""
"""The data keys ``d`` that a `DataKeyQuery` selects, after a position."""

_USABLE_WRAP = """EXISTS (
        SELECT 1 FROM {{schema}}.master_key m
        WHERE m.master_key_id = w.master_key_id AND m.state <> 'retired'
            AND coalesce({{last_event}}, '') <> 'master_key_retired')"""
"""Whether the wrap ``w`` is under a master key that was not retired.

Processes that opened the vault before the retirement still have the retired master key. Without this condition,
somebody who knows the secret of this master key could wrap a data key of their own, and these processes would unwrap
that data key.
"""


_AFTER_ACCOUNT = """(tenant_id, provider, identifier) > (
                (SELECT %(after_tenant_id)b::text),
                (SELECT %(after_provider)b::text),
                (SELECT %(after_identifier)b::text))
            AND ((SELECT %(provider)b::text) IS NULL OR provider = (SELECT %(provider)b::text))"""
"""Whether an account of any tenant comes after a position, and belongs to the provider that was asked for.

The planner does not see a parameter's value in a subquery. So a plan for the position at hand never looks cheaper than
the plan for all positions; see `planned_once`.
"""

_TOKENS_OF_KEYS = """unnest(%(tenant_ids)b::text[], %(providers)b::text[], %(kinds)b::text[], %(identifiers)b::text[])
    WITH ORDINALITY k (tenant_id, provider, kind, identifier, ord)
LEFT JOIN {{schema}}.token t
    ON t.tenant_id = k.tenant_id AND t.provider = k.provider AND t.kind = k.kind AND t.identifier = k.identifier
LEFT JOIN {{schema}}.token_use u
    ON u.tenant_id = t.tenant_id AND u.provider = t.provider AND u.kind = t.kind AND u.identifier = t.identifier"""
"""The tokens of the given keys, with their last uses; a key without a token gets an empty row.

``k.ord`` is the place of the row's key in the given order, from 1.
"""


_LIMIT = "%(limit)b::bigint"


def planned_once(sql: str, limit: int, now: datetime | None) -> str:
    """Return the query for a page with its limit as a number in the text, not as a parameter.

    If ``now`` is None, the query also has ``statement_timestamp()`` in place of the parameter for the time.

    The server plans a prepared query again at each call if the generic plan, which serves all parameters, looks more
    expensive than a plan for the given parameters. With an unknown limit or time, the generic plan looks expensive,
    because the server then expects to read a large part of the table. Planning takes about as long as reading the page.
    With the text that this function returns, the server keeps one plan.

    Args:
        sql: the query for a page.
        limit: largest number of accounts on the page; each limit is a prepared statement of its own.
        now: the clock's time, or None if there is no clock.
    """
    fixed = sql.replace(_LIMIT, str(int(limit)))
    return fixed if now is not None else fixed.replace(_NOW, "statement_timestamp()")


_HASTY = "(SELECT pg_catalog.set_config('lock_timeout', '100ms', true)) hasty CROSS JOIN"
_LOCKED = """RETURNING 1),
locked AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', NULL, true) WHERE (SELECT count(*) FROM scheduled) >= 0),"""
_TOLD, _READ_TOLD = "told AS MATERIALIZED (", "(SELECT count(*) FROM told) >= 0"
_READ_LOCKED = "(SELECT count(*) FROM locked) >= 0"


def briefly(sql: str) -> str:
    """Return the statement `store_tokens` with a tenth of a second as its longest wait for the lock of one row.

    The statement sets this limit before it locks its first row. When it has locked its last row, it restores the
    session's limit, because the commit may have to wait longer: Postgres commits transactions with notifications one
    after the other. Both settings end with the statement's transaction.
    """
    sql = sql.replace("FROM unnest(", f"FROM {_HASTY} unnest(")
    sql = sql.replace(f"),\n{_TOLD}", f"\n    {_LOCKED}\n{_TOLD}")
    return sql.replace(_READ_TOLD, f"{_READ_TOLD} AND {_READ_LOCKED}")


@lru_cache(maxsize=8)
def load_statements(
    schema: str,
    *,
    waking: bool = False,
    timeline: str = TIMELINE,
    version: str = VERSION,
    row_hash: str = BINARY_HASH,
    distributed: bool = False,
) -> Queries:
    """Return the statements for a schema.

    The latest results are kept, so that a program that opens many vaults does not fill in the same texts each time.

    Args:
        schema: the schema's name.
        waking: True: a statement that stores one value makes its account due now (`_WOKEN`). False: it computes the
            due time from the value (`_SCHEDULED`). One statement for both cases took 4 % longer.
        timeline: the SQL that tells the server's timeline.
        version: the SQL that tells a token's version.
        row_hash: the SQL that hashes some columns of a row.
        distributed: True: the statements for tables that Citus distributes; see `citus_statements`. False: those for a
            plain server.
    """
    shared = {
        "scheduled": _WOKEN if waking else _SCHEDULED,
        "schedule_timed": _SCHEDULE_TIMED.replace("{{now}}", _NOW),
        "locked_place": "t.ctid AS place",
        "at_locked_place": "t.ctid = l.place",
        "data_keys_of_page": _DATA_KEYS_OF_PAGE.replace("{{now}}", _NOW),
        "usable_wrap": _USABLE_WRAP.replace("{{last_event}}", _LAST_EVENT),
        "data_key_event": _DATA_KEY_EVENT,
        "last_event": _LAST_EVENT,
        "last_activated": _LAST_ACTIVATED,
        "durable": _DURABLE,
        "timeline": timeline,
        "token_version": NO_VERSION if distributed else version,
        "listed_event": _EVENT,
        "horizon": _HORIZON,
        "after": _AFTER,
        "after_account": _AFTER_ACCOUNT,
        "first_owners": f"ORDER BY {OWNER} LIMIT {_LIMIT}",
        "tokens_of_keys": _TOKENS_OF_KEYS,
        **notifying_fragments(schema),
        **state_fragments(row_hash),
        **appending_fragments(),
    }
    if distributed:
        shared |= distributed_fragments(shared["horizon"], _DATA_KEY_EVENT)
    filled = {name: sql.replace("{{schema}}", quoted(schema)) for name, sql in shared.items()}
    queries = load_queries(
        "vault_adapters.stores.postgres",
        size="octet_length",
        overlay="sql_citus" if distributed else "sql_plain",
        schema=quoted(schema),
        now=_NOW,
        **filled,
    )
    return distributed_queries(queries, _NOW) if distributed else queries
