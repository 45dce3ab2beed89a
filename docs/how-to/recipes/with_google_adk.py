"""A credential service of Google's Agent Development Kit, over the accounts of a vault."""

from collections.abc import Callable

from google.adk.agents.callback_context import CallbackContext
from google.adk.auth.auth_credential import AuthCredential, AuthCredentialTypes, OAuth2Auth
from google.adk.auth.auth_tool import AuthConfig
from google.adk.auth.credential_service.base_credential_service import BaseCredentialService

from vault_adapters import Account, ReauthorizationRequiredError, TokenNotFoundError, TokenSet, TokenVault


class VaultCredentialService(BaseCredentialService):
    """The credential_key of a tool's AuthConfig names the vault's provider."""

    def __init__(self, vault: TokenVault, tenant_of: Callable[[str], str]) -> None:
        super().__init__()
        self.vault, self.tenant_of = vault, tenant_of

    def account_of(self, config: AuthConfig, context: CallbackContext) -> Account:
        return Account(self.tenant_of(context.user_id), config.credential_key or "", context.user_id)

    async def load_credential(
        self, auth_config: AuthConfig, callback_context: CallbackContext
    ) -> AuthCredential | None:
        try:
            token = await self.vault.ensure_access_token(self.account_of(auth_config, callback_context))
        except (TokenNotFoundError, ReauthorizationRequiredError):
            return None  # the kit asks the user to authorize
        # Without expiry and refresh token, the kit refreshes nothing; its refresher knows no other process.
        return AuthCredential(
            auth_type=AuthCredentialTypes.OAUTH2, oauth2=OAuth2Auth(access_token=token.value.reveal())
        )

    async def save_credential(self, auth_config: AuthConfig, callback_context: CallbackContext) -> None:
        credential = auth_config.exchanged_auth_credential
        if credential is not None and credential.oauth2 is not None:
            tokens = TokenSet.from_response(credential.oauth2.model_dump(exclude_none=True))
            await self.vault.store_token_set(self.account_of(auth_config, callback_context), tokens)
