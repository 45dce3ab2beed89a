"""The pure domain of the token vault: values, rules, ports and use cases, without any I/O.

Hosts import from `vault_adapters`, which exports these names too.
"""

import logging
from typing import TYPE_CHECKING

from vault_domain.lazy import loader

if TYPE_CHECKING:
    from vault_domain.entities.account import (
        Account,
        AccountDeletion,
        AccountInfo,
        ConnectionState,
        TokenKey,
        TokenKind,
    )
    from vault_domain.entities.api_header import ApiHeader
    from vault_domain.entities.audit import AuditAction, AuditEvent
    from vault_domain.entities.audit_chain import AuditFault, AuditFinding, AuditHead, AuditVerification
    from vault_domain.entities.errors import (
        AuthorizationRefusedError,
        ConfigurationError,
        ConnectError,
        ConsentRequiredError,
        DecryptionError,
        GenerationConflictError,
        HostTransactionError,
        IdentityRefusedError,
        InvalidInputError,
        KeyUnavailableError,
        OtherAccountError,
        ProviderConfigurationError,
        ReauthorizationRequiredError,
        RefreshFailedError,
        RefreshNotPersistedError,
        SchemaOutdatedError,
        StateRefusedError,
        StorageError,
        TokenNotFoundError,
        VaultError,
        WrongEncryptionSecretError,
    )
    from vault_domain.entities.imported import ImportedToken, ImportFailure, ImportReport
    from vault_domain.entities.key_records import MasterKeyState
    from vault_domain.entities.key_reports import (
        DataKeyRotation,
        DataKeyRotations,
        ErasureReport,
        KeyStatus,
        MasterKeyRotation,
        MasterKeyStatus,
        Reencryption,
        TenantMasterKey,
        UnreadableKey,
    )
    from vault_domain.entities.page import Page
    from vault_domain.entities.reports import (
        HealthCount,
        HealthReport,
        Incident,
        Readiness,
        RestoreReport,
        RevivalReport,
        SweepReport,
    )
    from vault_domain.entities.request_limit import RequestLimit
    from vault_domain.entities.rotation_policy import RevocationScope, Rotation
    from vault_domain.entities.secret import Secret
    from vault_domain.entities.token import MarkOutcome, Token, TokenHealth, TokenInfo, TokenStatus, UsableToken
    from vault_domain.entities.token_set import TokenSet
    from vault_domain.facade.feed import EventFeed
    from vault_domain.facade.host import HostTransaction
    from vault_domain.facade.keys import VaultKeys
    from vault_domain.facade.states import VaultStates
    from vault_domain.facade.vault import TokenVault
    from vault_domain.ports.token_refresher import ClientNamer, RefreshRequest, TokenRefresher, TokenRevoker
    from vault_domain.services.tokens.states import OpenedState
else:
    __getattr__ = loader(
        __name__,
        {
            "vault_domain.entities.account": "Account AccountDeletion AccountInfo ConnectionState TokenKey TokenKind",
            "vault_domain.entities.api_header": "ApiHeader",
            "vault_domain.entities.audit": "AuditAction AuditEvent",
            "vault_domain.entities.audit_chain": "AuditFault AuditFinding AuditHead AuditVerification",
            "vault_domain.entities.errors": (
                "AuthorizationRefusedError ConfigurationError ConnectError ConsentRequiredError DecryptionError "
                "GenerationConflictError HostTransactionError IdentityRefusedError InvalidInputError "
                "KeyUnavailableError OtherAccountError ProviderConfigurationError ReauthorizationRequiredError "
                "RefreshFailedError "
                "RefreshNotPersistedError SchemaOutdatedError StateRefusedError StorageError TokenNotFoundError "
                "VaultError WrongEncryptionSecretError"
            ),
            "vault_domain.entities.imported": "ImportedToken ImportFailure ImportReport",
            "vault_domain.entities.key_records": "MasterKeyState",
            "vault_domain.entities.key_reports": (
                "DataKeyRotation DataKeyRotations ErasureReport KeyStatus MasterKeyRotation MasterKeyStatus "
                "Reencryption TenantMasterKey UnreadableKey"
            ),
            "vault_domain.entities.page": "Page",
            "vault_domain.entities.reports": (
                "HealthCount HealthReport Incident Readiness RestoreReport RevivalReport SweepReport"
            ),
            "vault_domain.entities.request_limit": "RequestLimit",
            "vault_domain.entities.rotation_policy": "RevocationScope Rotation",
            "vault_domain.entities.secret": "Secret",
            "vault_domain.entities.token": "MarkOutcome Token TokenHealth TokenInfo TokenStatus UsableToken",
            "vault_domain.entities.token_set": "TokenSet",
            "vault_domain.facade.feed": "EventFeed",
            "vault_domain.facade.host": "HostTransaction",
            "vault_domain.facade.keys": "VaultKeys",
            "vault_domain.facade.states": "VaultStates",
            "vault_domain.facade.vault": "TokenVault",
            "vault_domain.ports.token_refresher": "ClientNamer RefreshRequest TokenRefresher TokenRevoker",
            "vault_domain.services.tokens.states": "OpenedState",
        },
    )

__version__ = "0.3.0.dev0"

# A library logs nothing until its host configures logging.
logging.getLogger("vault_domain").addHandler(logging.NullHandler())

__all__ = [
    "Account",
    "AccountDeletion",
    "AccountInfo",
    "ApiHeader",
    "AuditAction",
    "AuditEvent",
    "AuditFault",
    "AuditFinding",
    "AuditHead",
    "AuditVerification",
    "AuthorizationRefusedError",
    "ClientNamer",
    "ConfigurationError",
    "ConnectError",
    "ConnectionState",
    "ConsentRequiredError",
    "DataKeyRotation",
    "DataKeyRotations",
    "DecryptionError",
    "ErasureReport",
    "EventFeed",
    "GenerationConflictError",
    "HealthCount",
    "HealthReport",
    "HostTransaction",
    "HostTransactionError",
    "IdentityRefusedError",
    "ImportFailure",
    "ImportReport",
    "ImportedToken",
    "Incident",
    "InvalidInputError",
    "KeyStatus",
    "KeyUnavailableError",
    "MarkOutcome",
    "MasterKeyRotation",
    "MasterKeyState",
    "MasterKeyStatus",
    "OpenedState",
    "OtherAccountError",
    "Page",
    "ProviderConfigurationError",
    "Readiness",
    "ReauthorizationRequiredError",
    "Reencryption",
    "RefreshFailedError",
    "RefreshNotPersistedError",
    "RefreshRequest",
    "RequestLimit",
    "RestoreReport",
    "RevivalReport",
    "RevocationScope",
    "Rotation",
    "SchemaOutdatedError",
    "Secret",
    "StateRefusedError",
    "StorageError",
    "SweepReport",
    "TenantMasterKey",
    "Token",
    "TokenHealth",
    "TokenInfo",
    "TokenKey",
    "TokenKind",
    "TokenNotFoundError",
    "TokenRefresher",
    "TokenRevoker",
    "TokenSet",
    "TokenStatus",
    "TokenVault",
    "UnreadableKey",
    "UsableToken",
    "VaultError",
    "VaultKeys",
    "VaultStates",
    "WrongEncryptionSecretError",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
