"""A Flask service that calls an API for its users."""

from flask import Flask, Response, jsonify

from vault_adapters import Account, ReauthorizationRequiredError, VaultConfig, open_sync_vault

app = Flask(__name__)

# The vault opens on its first call. So it is safe to import this module before the server forks.
vault = open_sync_vault(VaultConfig.from_env())


@app.errorhandler(ReauthorizationRequiredError)
def connect_again(_: ReauthorizationRequiredError) -> tuple[Response, int]:
    return jsonify(error="connect your account again"), 409


@app.get("/tenants/<tenant_id>/github/<identifier>")
def github(tenant_id: str, identifier: str) -> Response:
    token = vault.ensure_access_token(Account(tenant_id, "github", identifier))
    # Call the API with token.value.reveal() here; never return it.
    return jsonify(status=token.info.status.value)
