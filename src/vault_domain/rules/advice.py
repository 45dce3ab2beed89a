"""Says for each code of a finding how urgent the finding is, what it means and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from vault_domain.entities import causes
from vault_domain.entities.account import AccountInfo, ConnectionState
from vault_domain.entities.clients import CLIENT_MISMATCH, CLIENT_REASONS, INVALID_CLIENT, MASS_REJECTION
from vault_domain.entities.findings import Example, Finding, FindingCode, Severity
from vault_domain.entities.reports import Incident
from vault_domain.rules.key_states import KEY_DENIED, OF_ONE_TENANT

_CRITICAL, _WARNING, _NOTE = Severity.CRITICAL, Severity.WARNING, Severity.NOTE

ADVICE: dict[FindingCode, tuple[Severity, str, str]] = {
    FindingCode.CONFIGURATION: (
        _CRITICAL,
        "The vault cannot be opened with this configuration.",
        "Correct the setting that the detail names.",
    ),
    FindingCode.DATABASE_UNAVAILABLE: (
        _CRITICAL,
        "The database does not answer, or refuses this process.",
        "Look up the cause in the page about errors.",
    ),
    FindingCode.DATABASE_READ_ONLY: (
        _CRITICAL,
        "The database takes no writes, so no refreshed token can be stored.",
        "Connect to the primary server; free the disk if it is full. SQLite: let this user write file and folder.",
    ),
    FindingCode.SCHEMA_OUTDATED: (
        _CRITICAL,
        "The schema is missing or older than this release.",
        "Run `token-vault init`.",
    ),
    FindingCode.MASTER_KEY_UNAVAILABLE: (
        _CRITICAL,
        "The master key cannot be used, so tokens become unreadable when cached data keys expire.",
        "Look up the cause in the page about errors.",
    ),
    FindingCode.NOT_HOME: (
        _CRITICAL,
        "The database is a copy, or has moved: it is read, but nothing is refreshed.",
        "If no vault uses the original any more, run `token-vault adopt`. Beside the original, leave it as it is.",
    ),
    FindingCode.PROVIDER_PAUSED: (
        _CRITICAL,
        "The provider refuses the OAuth client or rejects most of its accounts, so refreshes are paused.",
        "Look up the reason in the page about errors.",
    ),
    FindingCode.ANSWERS_UNREAD: (
        _CRITICAL,
        "Answers of the provider with a status of success cannot be read; they are kept, and may hold new tokens.",
        "Correct the profile or refresher within four days; the vault then reads these answers by itself.",
    ),
    FindingCode.TENANT_KEY_UNUSABLE: (
        _CRITICAL,
        "A tenant's own master key cannot be used, so nothing of the tenant opens; the stored values are intact.",
        "Ask the customer whether the key was disabled. The values open again when the key does.",
    ),
    FindingCode.VALUES_UNREADABLE: (
        _CRITICAL,
        "Stored values do not decrypt: somebody changed them or their keys, or they came from another vault.",
        "Find out who wrote to the database. Then restore these rows from a backup, or let the users connect again.",
    ),
    FindingCode.RECONNECT_REQUIRED: (
        _CRITICAL,
        "The user must connect the account again.",
        "Ask the user to connect again. If the provider rejected many by mistake, see `token-vault revive --help`.",
    ),
    FindingCode.REFRESHER_MISSING: (
        _CRITICAL,
        "Access tokens of this provider expire, and no refresher is configured for it.",
        "Add a refresher under the provider's name.",
    ),
    FindingCode.SECRET_WEAK: (
        _WARNING,
        "An encryption secret does not look random.",
        "Make a new one with `token-vault generate-secret`, and rotate the master key to it.",
    ),
    FindingCode.CLOCK_SKEW: (
        _WARNING,
        "The clock of this machine differs from that of the database, or of a provider that refuses signed requests.",
        "Synchronise the clocks, for example with NTP.",
    ),
    FindingCode.JOURNAL_UNUSABLE: (
        _WARNING,
        "The journal takes no entries, so a rotated refresh token is lost if the database fails before it is stored.",
        "Make room on the disk of TOKEN_VAULT_JOURNAL_DIR, and let this process write to the directory.",
    ),
    FindingCode.JOURNAL_MISSING: (
        _WARNING,
        "A rotated refresh token is lost if this process ends while the database is unreachable.",
        "Set TOKEN_VAULT_JOURNAL_DIR to a directory on a disk that outlives the process.",
    ),
    FindingCode.REFRESH_TOKEN_ENDING: (
        _WARNING,
        "Refresh tokens expire soon; then users must connect these accounts again.",
        "Ask the users to connect again before that.",
    ),
    FindingCode.REFRESH_FAILING: (
        _WARNING,
        "Refreshes fail and are tried again.",
        "Look up the reason in the page about errors; the vault tries again by itself.",
    ),
    FindingCode.SHARED_GRANT: (
        _WARNING,
        "Several tenants have the same user's account, and the provider ends all grants of a user when one is revoked.",
        "Revoke only with `delete_account(revoke=True)`, which revokes nothing while another tenant has the account.",
    ),
    FindingCode.AUDIT_RETENTION_MISSING: (
        _WARNING,
        "The audit log is large, and nothing ever deletes from it.",
        "Set TOKEN_VAULT_AUDIT_RETENTION, or run `token-vault audit prune`.",
    ),
    FindingCode.SCOPES_MISSING: (
        _NOTE,
        "The refresher asks users for more scopes than these accounts have; their refreshes go on as before.",
        "Nothing, or ask these users for more: `Connector.begin(..., account=account, scopes=scopes)`.",
    ),
    FindingCode.PROFILE_UNVERIFIED: (
        _NOTE,
        "The profile has facts that are not from the provider's own pages; it uses careful values for them.",
        "Compare these facts with your experience: `token-vault providers NAME` shows them.",
    ),
    FindingCode.API_HOSTS_MISSING: (
        _NOTE,
        "It is not known to which hosts this provider's access tokens may be sent.",
        "Pass `hosts=` to VaultAuth, or use a profile with api_hosts.",
    ),
    FindingCode.REFRESHERS_UNKNOWN: (
        _WARNING,
        "Access tokens of this provider expire, and the host's refreshers are not known, so they were not examined.",
        "Pass --refreshers package.module:attribute.",
    ),
    FindingCode.ACCOUNTS_LEFT: (
        _NOTE,
        "Not all accounts were examined.",
        "Pass a larger --limit.",
    ),
}

_KEY_SERVICES = ("kms", "gcp", "azure", "transit", "pkcs11")
"""How the reasons of errors begin that concern a key service."""

_OF_KEY_SERVICES = {
    "unavailable": "Check the key service and the network.",
    "credentials": "Give this process valid credentials for the key service.",
    "throttled": "Raise the key service's limit of requests, or data_key_ttl.",
}

_ACTIONS = {
    causes.CONNECTION_REFUSED: "Start the server, or correct host and port in DATABASE_URL.",
    causes.UNKNOWN_HOST: "Correct the host's name in DATABASE_URL, or mend the resolver.",
    causes.AUTHENTICATION_FAILED: "Correct user and password in DATABASE_URL, or the server's pg_hba.conf.",
    causes.DATABASE_MISSING: "Create the database, or correct its name in DATABASE_URL.",
    causes.PERMISSION_DENIED: "Grant the role its rights; the guide about upgrades and roles has the statements.",
    causes.TLS: "Check sslmode and sslrootcert in DATABASE_URL, and the server's certificate.",
    causes.TIMEOUT: "Look at the server's load, its locks and the network.",
    causes.TOO_MANY_CONNECTIONS: "Raise the server's limit, lower TOKEN_VAULT_POOL_SIZE, or use a pooler.",
    causes.SHUTTING_DOWN: "Wait until the server has started.",
    "unknown_master_key": "Give this process the encryption secret or master key that is active now; `token-vault keys"
    " status` shows the active master key, if you run it where the vault can be opened.",
    "retired_master_key": "Give this process the encryption secret or master key that is active now.",
    **{f"{service}_{cause}": action for service in _KEY_SERVICES for cause, action in _OF_KEY_SERVICES.items()},
    **dict.fromkeys(("kms_access_denied", KEY_DENIED), "Give this process the right to use the master key."),
    INVALID_CLIENT: "Check client id and secret.",
    causes.UNREADABLE_ANSWER: "Correct the profile or the refresher: its paths do not fit the provider's answers.",
    CLIENT_MISMATCH: "Configure the client id under which the users connected, or let them connect again.",
    MASS_REJECTION: "Find out what happened at the provider or in your registration; no credential was condemned.",
}
"""What to do about an outage or a pause, by its cause."""

_ENDINGS = {
    "invalid_grant": "The provider rejected the refresh token, mostly because the user or an administrator took the"
    " access back. The user must connect the account again.",
}
"""What happened to an account whose user must connect it again, by the provider's code."""

_PAUSES = {
    INVALID_CLIENT: "The provider refuses the OAuth client, so refreshes are paused.",
    causes.UNREADABLE_ANSWER: "Answers of the provider cannot be read, so refreshes are paused.",
    CLIENT_MISMATCH: "The provider refuses credentials of an OAuth client that is not configured; they are paused.",
    MASS_REJECTION: "The provider rejects many accounts at once, so refreshes of these accounts are paused.",
}
"""What happened while a client is paused, by the reason of the pause."""

_ONE_TENANT = "It is so for several accounts of one tenant only, so nothing is paused."

_PAUSE_ENDS = "The pause ends by itself after a success."

_FAILURES = {
    INVALID_CLIENT: "The provider refused the OAuth client; refreshes are tried again.",
    causes.UNREADABLE_ANSWER: "An answer of the provider could not be read and is kept; refreshes are tried again.",
    CLIENT_MISMATCH: "The provider refused a credential of another OAuth client than the configured one.",
    MASS_REJECTION: "The provider rejected this together with many others, so it is tried again and not condemned.",
    "temporarily_unavailable": "The provider is temporarily unavailable; refreshes are tried again.",
    "server_error": "The provider has an error of its own; refreshes are tried again.",
    **dict.fromkeys(
        (causes.TIMEOUT, causes.CONNECTION_REFUSED, causes.CONNECTION_FAILED, causes.CONNECTION_LOST),
        "The provider does not answer; refreshes are tried again.",
    ),
}
"""Why refreshes fail, by the reason of the accounts, if no pause is known."""

_PASSING = causes.OUTAGES | {causes.OUTCOME_UNKNOWN}
"""Reasons of failures that the vault survives without anybody."""

_WAIT = "Nothing: the vault tries again by itself. If it goes on, look up the reason in the page about errors."

_WITH_CAUSES = {FindingCode.DATABASE_UNAVAILABLE, FindingCode.MASTER_KEY_UNAVAILABLE, FindingCode.PROVIDER_PAUSED}


def finding(
    code: FindingCode,
    *,
    provider: str | None = None,
    detail: str | None = None,
    accounts: int = 0,
    examples: tuple[Example, ...] = (),
) -> Finding:
    """Return a finding with severity and texts of its code; a known cause of an outage or pause has its own action."""
    severity, sentence, action = ADVICE[code]
    if code in _WITH_CAUSES and detail is not None:
        action = _ACTIONS.get(detail, action)
    if code is FindingCode.PROVIDER_PAUSED:
        sentence, action = _PAUSES.get(detail or "", sentence), f"{action} {_PAUSE_ENDS}"
    return Finding(severity, code, sentence, action, provider, detail, accounts, examples)


def incident_finding(incident: Incident) -> Finding:
    """Return the finding about an incident; without a pause, the refresh failures of one tenant's accounts tell it."""
    provider, reason = incident.provider, incident.reason
    if incident.pauses:
        return finding(FindingCode.PROVIDER_PAUSED, provider=provider, detail=reason)
    found = failure(provider, reason)
    return evolve(found, sentence=f"{found.sentence} {_ONE_TENANT}")


def failure(provider: str, reason: str | None) -> Finding:
    """Return the finding about accounts that are retried for a reason, while no pause of their client is known.

    Nobody has to act while a provider is down (`Severity.NOTE`); any other reason is a warning.
    """
    severity, sentence, action = ADVICE[FindingCode.REFRESH_FAILING]
    if reason in CLIENT_REASONS:
        action = _ACTIONS[reason]
    if reason in _PASSING:
        severity, action = _NOTE, _WAIT
    return Finding(
        severity, FindingCode.REFRESH_FAILING, _FAILURES.get(reason or "", sentence), action, provider, reason
    )


def advice_for(info: AccountInfo, incidents: Sequence[Incident] = ()) -> Finding | None:
    """Return what happened to an account that is not connected, and what to do; None: it is connected.

    Args:
        info: the account.
        incidents: the clients that are paused.
    """
    provider, reason = info.account.provider, info.reason
    if info.state is ConnectionState.CONNECTED:
        return None
    if info.state is ConnectionState.REAUTHORIZATION_REQUIRED:
        found = finding(FindingCode.RECONNECT_REQUIRED, provider=provider, detail=reason)
        return evolve(found, sentence=_ENDINGS.get(reason or "", found.sentence))
    if reason in OF_ONE_TENANT:
        return finding(FindingCode.TENANT_KEY_UNUSABLE, provider=provider, detail=reason)
    if any(each.pauses and (each.provider, each.reason) == (provider, reason) for each in incidents):
        return finding(FindingCode.PROVIDER_PAUSED, provider=provider, detail=reason)
    if reason == causes.CLOCK_SKEW:
        return finding(FindingCode.CLOCK_SKEW, provider=provider)
    return failure(provider, reason)
