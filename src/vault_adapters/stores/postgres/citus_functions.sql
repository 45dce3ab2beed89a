-- Stores one value on the node of its tenant; citus_store_token calls it. It returns no row if the data key is not
-- active.
-- Plans are not kept, because Citus 14.0 would keep one more at each call, so that the session's memory would grow.
CREATE OR REPLACE FUNCTION {{schema}}.citus_write_token_v{{functions_version}}(
    given_tenant_id text, given_provider text, given_kind text, given_identifier text, given_value_id uuid,
    given_data_key_id bytea, given_blob bytea, given_extra bytea, given_expires_at timestamptz, given_lifetime bigint,
    given_scopes text, given_refreshed boolean, given_due_at timestamptz, given_now timestamptz, given_lock_timeout text,
    {{plain given_$name $type}})
RETURNS TABLE (
    stored_id uuid, stored_generation bigint, stored_scopes text, stored_last_refreshed_at timestamptz,
    stored_created_at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $token_vault_body$
BEGIN
    PERFORM set_config('lock_timeout', given_lock_timeout, true);  -- Citus does not pass settings on to other nodes
    PERFORM true FROM {{schema}}.data_key
    WHERE tenant_id = given_tenant_id AND data_key_id = given_data_key_id AND state = 'active'
    FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO {{schema}}.token AS t (
        tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, expires_at, lifetime,
        scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
    VALUES (given_tenant_id, given_provider, given_kind, given_identifier, given_value_id, given_value_id,
        given_data_key_id, given_blob, given_extra, 'valid', given_expires_at, given_lifetime, given_scopes, 1,
        CASE WHEN given_refreshed THEN given_now END, given_now, given_now, {{plain given_$name}})
    ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
        value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob, extra = excluded.extra,
        status = 'valid', error_code = NULL, suspect_since = NULL, rejected_at = NULL, {{plain $name = excluded.$name}},
        expires_at = excluded.expires_at, lifetime = excluded.lifetime, scopes = coalesce(excluded.scopes, t.scopes),
        generation = t.generation + 1,
        last_refreshed_at = excluded.updated_at, updated_at = excluded.updated_at
    RETURNING t.id, t.generation, t.scopes, t.last_refreshed_at, t.created_at
    INTO stored_id, stored_generation, stored_scopes, stored_last_refreshed_at, stored_created_at;
    IF given_due_at IS NULL THEN
        UPDATE {{schema}}.account SET due_at = given_now
        WHERE tenant_id = given_tenant_id AND provider = given_provider AND identifier = given_identifier
            AND (due_at IS NULL OR due_at > given_now);
    ELSE
        INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
        VALUES (given_tenant_id, given_provider, given_identifier, given_due_at)
        ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
            WHERE a.due_at IS NULL OR a.due_at > excluded.due_at;
    END IF;
    RETURN NEXT;
END
$token_vault_body$;

-- Stores one value and appends the audit event, as the statement store_token of a plain server does. It returns no row
-- if the data key is not active. A value without a due time makes an existing account due now.
-- An event's place in the audit log is computed from the id of its transaction on the node that runs this function.
-- This node gives the transaction its id only after the tenant's node has locked the token's row, so that the id is
-- higher than the ids of transactions that wrote the row earlier.
CREATE OR REPLACE FUNCTION {{schema}}.citus_store_token_v{{functions_version}}(
    given_tenant_id text, given_provider text, given_kind text, given_identifier text, given_value_id uuid,
    given_data_key_id bytea, given_blob bytea, given_extra bytea, given_expires_at timestamptz, given_lifetime bigint,
    given_scopes text, given_refreshed boolean, given_lead bigint, given_due_in bigint, given_action text,
    given_actor text, given_now timestamptz, {{plain given_$name $type}})
RETURNS TABLE (
    stored_id uuid, stored_generation bigint, stored_scopes text, stored_last_refreshed_at timestamptz,
    stored_created_at timestamptz, stored_updated_at timestamptz, stored_expires_at timestamptz)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $token_vault_body$
DECLARE
    -- These are computed here. If they were expressions among the arguments of citus_write_token, the tenant's node
    -- would evaluate them, with its own clock and settings.
    now timestamptz := coalesce(given_now, statement_timestamp());
    expires_at timestamptz := coalesce(given_expires_at, now + given_lifetime::float8 * interval '1 microsecond');
    due_at timestamptz := least(
        expires_at - given_lead::float8 * interval '1 microsecond',
        now + given_due_in::float8 * interval '1 microsecond');
    lock_timeout text := current_setting('lock_timeout');
BEGIN
    stored_updated_at := now;
    stored_expires_at := expires_at;
    SELECT * INTO stored_id, stored_generation, stored_scopes, stored_last_refreshed_at, stored_created_at
    FROM {{schema}}.citus_write_token_v{{functions_version}}(
        given_tenant_id, given_provider, given_kind, given_identifier, given_value_id, given_data_key_id, given_blob,
        given_extra, expires_at, given_lifetime, given_scopes, given_refreshed, due_at, now, lock_timeout,
        {{plain given_$name}});
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO {{schema}}.audit_event (
        tenant_id, action, occurred_at, provider, identifier, kind, generation, actor)
    VALUES (given_tenant_id, given_action, now, given_provider, given_identifier, given_kind, stored_generation,
        given_actor);
    RETURN NEXT;
END
$token_vault_body$;

-- Stores values of one tenant on the node of the tenant, in the given order, and makes their accounts due. It returns
-- the stored tokens, or no row if a data key is not active. An account without a due time becomes due now if it exists.
CREATE OR REPLACE FUNCTION {{schema}}.citus_write_tokens_v{{functions_version}}(
    given_tenant_id text, given_providers text[], given_kinds text[], given_identifiers text[], given_value_ids uuid[],
    given_data_key_ids bytea[], given_blobs bytea[], given_extras bytea[], given_expires_at timestamptz[],
    given_lifetimes bigint[], given_scopes text[], given_refreshed boolean,
    given_account_providers text[], given_account_identifiers text[], given_due_at timestamptz[],
    given_now timestamptz, given_lock_timeout text, {{plain given_$name $type[]}})
RETURNS TABLE (
    stored_id uuid, stored_status text, stored_error_code text, stored_expires_at timestamptz, stored_scopes text,
    stored_generation bigint, stored_last_used_at timestamptz, stored_last_refreshed_at timestamptz, stored_lifetime
    bigint, stored_created_at timestamptz, stored_updated_at timestamptz, stored_value_id uuid,
    stored_suspect_since timestamptz, stored_rejected_at timestamptz, {{plain stored_$name $type}})
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $token_vault_body$
DECLARE
    usable bigint;
    one record;
BEGIN
    PERFORM set_config('lock_timeout', given_lock_timeout, true);
    PERFORM true FROM {{schema}}.data_key
    WHERE tenant_id = given_tenant_id AND data_key_id = ANY (given_data_key_ids) AND state = 'active'
    ORDER BY data_key_id
    FOR SHARE;
    GET DIAGNOSTICS usable = ROW_COUNT;
    IF usable < (SELECT count(DISTINCT id) FROM unnest(given_data_key_ids) k (id)) THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT * FROM unnest(given_providers, given_kinds, given_identifiers, given_value_ids, given_data_key_ids,
            given_blobs, given_extras, given_expires_at, given_lifetimes, given_scopes, {{plain given_$name}})
            v (provider, kind, identifier, value_id, data_key_id, blob, extra, expires_at, lifetime, scopes,
            {{plain $name}})
    LOOP
        INSERT INTO {{schema}}.token AS t (
            tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, extra, status, expires_at, lifetime,
            scopes, generation, last_refreshed_at, created_at, updated_at, {{plain $name}})
        VALUES (given_tenant_id, one.provider, one.kind, one.identifier, one.value_id, one.value_id, one.data_key_id,
            one.blob, one.extra, 'valid', one.expires_at, one.lifetime, one.scopes, 1,
            CASE WHEN given_refreshed THEN given_now END, given_now, given_now, {{plain one.$name}})
        ON CONFLICT (tenant_id, provider, kind, identifier) DO UPDATE SET
            value_id = excluded.value_id, data_key_id = excluded.data_key_id, blob = excluded.blob,
            extra = excluded.extra, status = 'valid', error_code = NULL, suspect_since = NULL, rejected_at = NULL,
            {{plain $name = excluded.$name}}, expires_at = excluded.expires_at, lifetime = excluded.lifetime,
            scopes = coalesce(excluded.scopes, t.scopes), generation = t.generation + 1,
            last_refreshed_at = excluded.updated_at, updated_at = excluded.updated_at
        RETURNING t.id, t.status, t.error_code, t.expires_at, t.scopes, t.generation, t.last_refreshed_at,
            t.lifetime, t.created_at, t.updated_at, t.value_id, t.suspect_since, t.rejected_at,
            {{plain t.$name}}
        INTO stored_id, stored_status, stored_error_code, stored_expires_at, stored_scopes,
            stored_generation, stored_last_refreshed_at, stored_lifetime, stored_created_at,
            stored_updated_at, stored_value_id, stored_suspect_since, stored_rejected_at, {{plain stored_$name}};
        SELECT last_used_at INTO stored_last_used_at FROM {{schema}}.token_use
        WHERE tenant_id = given_tenant_id AND provider = one.provider AND kind = one.kind
            AND identifier = one.identifier;
        RETURN NEXT;
    END LOOP;
    FOR one IN
        SELECT * FROM unnest(given_account_providers, given_account_identifiers, given_due_at)
            a (provider, identifier, due_at)
    LOOP
        IF one.due_at IS NULL THEN
            UPDATE {{schema}}.account SET due_at = given_now
            WHERE tenant_id = given_tenant_id AND provider = one.provider AND identifier = one.identifier
                AND (due_at IS NULL OR due_at > given_now);
        ELSE
            INSERT INTO {{schema}}.account AS a (tenant_id, provider, identifier, due_at)
            VALUES (given_tenant_id, one.provider, one.identifier, one.due_at)
            ON CONFLICT (tenant_id, provider, identifier) DO UPDATE SET due_at = excluded.due_at
                WHERE a.due_at IS NULL OR a.due_at > excluded.due_at;
        END IF;
    END LOOP;
END
$token_vault_body$;
