"""The findings of `token-vault doctor`: what puts connected accounts at risk, and what to do about it."""

from __future__ import annotations

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.choice import Choice


class Severity(Choice):
    """How urgent a finding is.

    - CRITICAL: accounts or the vault do not work.
    - WARNING: accounts or the vault are at risk until somebody acts.
    - NOTE: worth knowing; nobody has to act.
    """

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


class FindingCode(Choice):
    """The codes of findings; docs/how-to/find-accounts-at-risk.md says what each means."""

    CONFIGURATION = "configuration"
    DATABASE_UNAVAILABLE = "database_unavailable"
    DATABASE_READ_ONLY = "database_read_only"
    SCHEMA_OUTDATED = "schema_outdated"
    MASTER_KEY_UNAVAILABLE = "master_key_unavailable"
    NOT_HOME = "not_home"
    PROVIDER_PAUSED = "provider_paused"
    ANSWERS_UNREAD = "answers_unread"
    TENANT_KEY_UNUSABLE = "tenant_key_unusable"
    VALUES_UNREADABLE = "values_unreadable"
    RECONNECT_REQUIRED = "reconnect_required"
    REFRESHER_MISSING = "refresher_missing"
    SECRET_WEAK = "secret_weak"
    CLOCK_SKEW = "clock_skew"
    JOURNAL_UNUSABLE = "journal_unusable"
    JOURNAL_MISSING = "journal_missing"
    REFRESH_TOKEN_ENDING = "refresh_token_ending"
    REFRESH_FAILING = "refresh_failing"
    SHARED_GRANT = "shared_grant"
    AUDIT_RETENTION_MISSING = "audit_retention_missing"
    SCOPES_MISSING = "scopes_missing"
    PROFILE_UNVERIFIED = "profile_unverified"
    API_HOSTS_MISSING = "api_hosts_missing"
    REFRESHERS_UNKNOWN = "refreshers_unknown"
    ACCOUNTS_LEFT = "accounts_left"


@frozen
class Example:
    """An account that a finding concerns, with its label or None."""

    account: Account
    label: str | None = None


@frozen
class Finding:
    """One finding; it holds no secret.

    Attributes:
        severity: how urgent the finding is.
        code: what was found.
        sentence: what was found, for people.
        action: what to do.
        provider: the provider that the finding concerns, or None.
        detail: a cause, a number, the names of facts of the provider's profile, or an error message; or None.
        accounts: number of accounts that the finding concerns.
        examples: a few of these accounts.
    """

    severity: Severity
    code: FindingCode
    sentence: str
    action: str
    provider: str | None = None
    detail: str | None = None
    accounts: int = 0
    examples: tuple[Example, ...] = ()

    @property
    def is_risk(self) -> bool:
        """Whether somebody must act."""
        return self.severity is not Severity.NOTE
