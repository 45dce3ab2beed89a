-- needs: 0002
-- Operators that another role makes for these types would fit the vault's statements better than the built-in ones for
-- texts. To use the tables, a role needs no right to their types.
REVOKE USAGE ON TYPE
    {{schema}}.vault_tenant_id, {{schema}}.vault_tenant_id_or_none, {{schema}}.vault_provider,
    {{schema}}.vault_kind, {{schema}}.vault_identifier, {{schema}}.vault_short_text, {{schema}}.vault_code,
    {{schema}}.vault_action, {{schema}}.vault_status, {{schema}}.vault_key_id, {{schema}}.vault_client,
    {{schema}}.vault_sealed_value, {{schema}}.vault_sealed_extra, {{schema}}.vault_finite_time,
    {{schema}}.vault_amount, {{schema}}.vault_generation, {{schema}}.vault_scopes
    FROM PUBLIC;
