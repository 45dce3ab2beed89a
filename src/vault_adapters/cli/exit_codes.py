"""The exit codes of commands; they stay the same in every release."""

from __future__ import annotations

import enum

from vault_domain import (
    ConfigurationError,
    ConnectError,
    DecryptionError,
    GenerationConflictError,
    InvalidInputError,
    KeyUnavailableError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    RefreshNotPersistedError,
    StorageError,
    TokenNotFoundError,
    VaultError,
)


class ExitCode(enum.IntEnum):
    """Every exit code of `token-vault`."""

    OK = 0
    UNEXPECTED = 1
    INVALID_INPUT = 2
    CONFIGURATION = 3
    NOT_FOUND = 4
    STORAGE = 5
    DECRYPTION = 6
    KEY_UNAVAILABLE = 7
    CONFLICT = 8
    REAUTHORIZATION_REQUIRED = 9
    REFRESH_FAILED = 10
    REFRESH_NOT_PERSISTED = 11
    PROVIDER_CONFIGURATION = 12
    # The command is partly done: some rows or keys could not be read, an old key is still in use, or SQLite's
    # write-ahead log could not be emptied.
    INCOMPLETE = 13
    # Only `connect` and `demo` use this code, because no other command connects an account.
    CONNECT_FAILED = 14
    # `doctor` or `audit verify` found something that somebody must act on.
    AT_RISK = 15
    # The shell's convention: 128 plus the signal's number.
    INTERRUPTED = 130
    BROKEN_PIPE = 141


CODES: dict[type[VaultError], ExitCode] = {
    InvalidInputError: ExitCode.INVALID_INPUT,
    ConfigurationError: ExitCode.CONFIGURATION,
    TokenNotFoundError: ExitCode.NOT_FOUND,
    StorageError: ExitCode.STORAGE,
    DecryptionError: ExitCode.DECRYPTION,
    KeyUnavailableError: ExitCode.KEY_UNAVAILABLE,
    GenerationConflictError: ExitCode.CONFLICT,
    ReauthorizationRequiredError: ExitCode.REAUTHORIZATION_REQUIRED,
    RefreshFailedError: ExitCode.REFRESH_FAILED,
    RefreshNotPersistedError: ExitCode.REFRESH_NOT_PERSISTED,
    ProviderConfigurationError: ExitCode.PROVIDER_CONFIGURATION,
    ConnectError: ExitCode.CONNECT_FAILED,
}
"""The exit code of each error class; a subclass without an entry has its parent's code."""


def exit_code_of(error: VaultError) -> ExitCode:
    """Return the exit code for an error."""
    return next((CODES[cls] for cls in type(error).__mro__ if cls in CODES), ExitCode.UNEXPECTED)
