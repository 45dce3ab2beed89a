"""`VaultConfig`: how a vault is configured.

No other module reads the process's environment, except that the command line reads ``TOKEN_VAULT_REFRESHERS``, and
libpq and boto3 read variables of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from attrs import Attribute, field, frozen
from attrs.validators import optional

from vault_adapters.configuration.database_url import ConfiguredUrl, as_configured_url
from vault_adapters.configuration.environment import LEAST_SECRET, read_environment, with_variable
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.suspicion import LEAST_CONFIRMATION, MOST_CONFIRMATION
from vault_domain.entities.text import plain_text
from vault_domain.entities.token import DEFAULT_REFRESH_BUFFER, RECONNECT_NOTICE
from vault_domain.ports.client_ledger import MOST_COUNTED
from vault_domain.rules.clients import MOST_ACCOUNTS, ClientRules
from vault_domain.rules.refresh import DEFAULT_CONCURRENCY
from vault_domain.rules.refusals import DEFAULT_EXHAUSTION
from vault_domain.rules.remembering import MemoryPolicy
from vault_domain.rules.turns import DEFAULT_HOLD

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_MASTER_KEY = re.compile(r"(local|aws-kms:[A-Za-z0-9:/_.-]{1,2048})\Z")

_MOST_DEPLOYMENT = 64

# Only this object counts as the default: a host that passes the same URL gets no warning about the default.
DEFAULT_DATABASE_URL = ConfiguredUrl("sqlite:///token-vault.db", is_default=True)


def _as_optional_secret(value: Secret | str | None) -> Secret | None:
    if value is None:
        return None
    secret: Secret | None = None
    with suppress(InvalidInputError):
        secret = as_secret(value)
    if secret is None:
        raise ConfigurationError("an encryption secret must be a string of at most 64 KiB, without lone surrogates")
    if len(secret.reveal().encode("utf-16-le")) // 2 < LEAST_SECRET:
        raise ConfigurationError(
            f"an encryption secret must have at least {LEAST_SECRET} characters", code="encryption_secret_short"
        )
    return secret


def _as_url(value: ConfiguredUrl | str) -> ConfiguredUrl:
    return as_configured_url(value)  # mypy does not accept a decorated function as a converter


def _as_master_key(value: str) -> str:
    text = plain_text(value)
    if text is None or not _MASTER_KEY.match(text):
        raise ConfigurationError('master_key must be "local" or "aws-kms:" and a key id, alias or ARN')
    return text


def _as_optional_master_key(value: str | None) -> str | None:
    return None if value is None else _as_master_key(value)


def _as_schema(value: str) -> str:
    text = plain_text(value)
    if text is None or not _SCHEMA.match(text) or text.startswith("pg_") or text == "information_schema":
        raise ConfigurationError(
            "postgres_schema must match [a-z_][a-z0-9_]{0,62}, not start with pg_ and not be information_schema"
        )
    return text


def _as_deployment(value: str | None) -> str | None:
    if value is None:
        return None
    text = plain_text(value)
    if not text or len(text) > _MOST_DEPLOYMENT or not text.isprintable():
        raise ConfigurationError(f"deployment must be a name of 1 to {_MOST_DEPLOYMENT} printable characters")
    return text


def _as_directory(value: Path | str | None) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    text = plain_text(value)
    if not text or "\0" in text:
        raise ConfigurationError("journal_dir must be a path")
    return Path(text)


def _duration(least: timedelta, most: timedelta) -> Callable[[Any, Attribute[Any], Any], None]:
    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, timedelta) or not least <= value <= most:
            limits = f"{least.total_seconds():g} to {most.total_seconds():g} seconds"
            raise ConfigurationError(f"{attribute.name} must be a timedelta from {limits}")

    return validate


def _one_of(*choices: str) -> Callable[[Any, Attribute[Any], Any], None]:
    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or value not in choices:
            raise ConfigurationError(f"{attribute.name} must be {' or '.join(choices)}")

    return validate


def _whole(least: int, most: int) -> Callable[[Any, Attribute[Any], Any], None]:
    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigurationError(f"{attribute.name} must be a whole number from {least} to {most}")

    return validate


def _as_flag(value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError("prepared_statements must be True or False")
    return value


_ZERO, _DAY = timedelta(0), timedelta(days=1)


@scrubbed_class
@frozen
class VaultConfig:
    """The configuration of a vault.

    Args:
        database_url: ``postgresql://``, ``postgres://`` or ``postgresql+driver://`` (libpq parameters are allowed);
            ``sqlite:///relative``, ``sqlite:////absolute`` or ``sqlite:///:memory:``, which is a new
            database for each vault. The field's value is not a ``str``: it hides the URL's password, and its
            ``reveal()`` returns the URL.
        encryption_secret: at least 32 characters; see `generate_encryption_secret`. Needed for the local master key.
        previous_encryption_secret: the previous secret, during a master key rotation.
        master_key: ``local`` (derived from the secret) or ``aws-kms:`` and a key id, alias or ARN.
        previous_master_key: the previous master key, during a master key rotation.
        refresh_buffer: time before expiry from which an access token is refreshed.
        refresh_deadline: longest time that a caller waits for a provider.
        answer_deadline: time after ``refresh_deadline`` for which the vault still waits for the provider's answer, to
            store it, although no caller waits any more; at most five minutes.
        quiescence: waiting time after an attempt with an unknown outcome, if the provider's rotation policy is strict.
            At a provider with a grace period, the vault waits for this time too if the grace period of the credential
            that was presented is over, or if too little of the grace period is left for another request.
        hold_answers: time for which a provider's answer that replaced the credential stays in memory, and in the
            journal, after the database has stored the answer. If a failover loses the answer, the vault stores it
            again. For the same time after a failover, the vault presents no refresh token of a provider with a strict
            rotation policy. At most ten minutes. With zero, the vault holds no answers, and does not wait after a
            failover. Postgres only.
        rejection_confirm_after: a second report of a rejection makes a token invalid only if it comes at least this
            time after the first report. This concerns tokens that no refresh can replace, such as API keys.
        rejection_confirm_within: longest time between these two reports; a later report counts as a first one.
        reconnect_notice: a refresh token that expires within this time counts as expiring, and an event says that its
            user must connect the account again. If the token's lifetime is known, the time is at most half of the
            lifetime.
        journal_dir: directory for refreshed tokens until the database has stored them; None: they stay in memory.
        close_timeout: longest time for which a closing vault tries to store refreshed tokens that wait for the
            database. Refreshes that are running may take longer.
        data_key_ttl: time for which an unwrapped data key may be used before it is unwrapped again.
        pool_size: largest number of connections to Postgres.
        prepared_statements: False for a pooler in transaction mode that does not support them.
        postgres_schema: the schema that holds the vault's tables.
        scrypt_log2_n: cost of deriving a new local master key, 14 to 18; existing keys keep their cost.
        storage_timeout: longest time to wait for Postgres's answer to one statement, and for a free connection; on
            SQLite, longest time to wait for other transactions, and for a query. From half a second to five minutes. On
            Postgres, imports, key rotations, erasures and migrations have longer limits.
        read_cache: time after this process has read a token, during which it may return the token again without a
            query; None or zero: never. Other processes' changes are usually seen within milliseconds, and never later
            than this time.
        serve_stale: time after this process last read or stored a token, during which it may hand out the token from
            memory while the database does not answer; zero: never. An expired token is never handed out.
        read_cache_size: largest number of tokens that this process remembers.
        deployment: a name of up to 64 characters for the installation to which the database belongs, such as
            ``production``. A vault that finds another name recorded in the database reads but does not refresh, until
            `TokenVault.adopt` is called; so a copy of the database does not use up the original's refresh tokens. None:
            only a change of the database's place is noticed.
        audit_retention: age from which sweeps delete audit events, a day at least; None: never.
        audit_reads: ``all`` writes audit events for reads of every token, ``secrets`` only for reads of tokens that are
            not access tokens; None: for no read.
        exhausted_after: if a provider gives an account nothing but definite refusals during this time, the vault stops
            refreshing the account, and its user must connect it again; an hour to a year.
        provider_concurrency: largest number of refreshes that this process runs at one provider at the same time; one
            tenant runs about three quarters of them at most.
        client_pause_accounts: the vault pauses an OAuth client when the provider has refused the client for this many
            different accounts without a success in between. Here and in `fleet_guard_accounts`, the accounts must
            belong to at least two tenants, if the vault has tokens of several.
        client_probe_interval: time between two probes of a paused client.
        fleet_guard_accounts: the vault pauses a client if, within `fleet_guard_window`, the provider rejects at least
            this many of the client's accounts, and more accounts than it gives tokens to. This pause holds back only
            accounts that the provider has rejected. During the pause, no rejection condemns a credential of the client.
            The credentials that the vault condemned within this window become valid again.
        fleet_guard_window: length of the period in which rejections and successes are compared; see
            `fleet_guard_accounts`.
        fleet_guard_limit: after this time without a success, the vault condemns rejected credentials in spite of
            `fleet_guard_accounts`.

    Raises:
        ConfigurationError: a field is not valid; the message does not repeat its value.
    """

    database_url: ConfiguredUrl = field(default=DEFAULT_DATABASE_URL, converter=_as_url)
    encryption_secret: Secret | None = field(default=None, converter=_as_optional_secret)
    previous_encryption_secret: Secret | None = field(default=None, converter=_as_optional_secret)
    master_key: str = field(default="local", converter=_as_master_key)
    previous_master_key: str | None = field(default=None, converter=_as_optional_master_key)
    refresh_buffer: timedelta = field(default=DEFAULT_REFRESH_BUFFER, validator=_duration(_ZERO, _DAY))
    refresh_deadline: timedelta = field(
        default=timedelta(seconds=10),
        validator=_duration(timedelta(seconds=0.1), timedelta(minutes=5)),
    )
    answer_deadline: timedelta = field(default=timedelta(seconds=60), validator=_duration(_ZERO, timedelta(minutes=5)))
    quiescence: timedelta = field(default=timedelta(seconds=60), validator=_duration(_ZERO, _DAY))
    hold_answers: timedelta = field(default=DEFAULT_HOLD, validator=_duration(_ZERO, timedelta(minutes=10)))
    rejection_confirm_after: timedelta = field(default=LEAST_CONFIRMATION, validator=_duration(_ZERO, _DAY))
    rejection_confirm_within: timedelta = field(default=MOST_CONFIRMATION, validator=_duration(_ZERO, _DAY))
    reconnect_notice: timedelta = field(default=RECONNECT_NOTICE, validator=_duration(_ZERO, 366 * _DAY))
    journal_dir: Path | None = field(default=None, converter=_as_directory)
    close_timeout: timedelta = field(
        default=timedelta(seconds=10),
        validator=_duration(timedelta(seconds=0.1), timedelta(minutes=5)),
    )
    data_key_ttl: timedelta = field(default=timedelta(minutes=5), validator=_duration(_ZERO, _DAY))
    pool_size: int = field(default=10, validator=_whole(1, 1000))
    prepared_statements: bool = field(default=True, converter=_as_flag)
    postgres_schema: str = field(default="token_vault", converter=_as_schema)
    scrypt_log2_n: int = field(default=17, validator=_whole(14, 18))
    storage_timeout: timedelta = field(
        default=timedelta(seconds=5),
        validator=_duration(timedelta(seconds=0.5), timedelta(minutes=5)),
    )
    read_cache: timedelta | None = field(default=None, validator=optional(_duration(_ZERO, _DAY)))
    serve_stale: timedelta = field(default=timedelta(minutes=10), validator=_duration(_ZERO, _DAY))
    read_cache_size: int = field(default=10_000, validator=_whole(1, 10_000_000))
    deployment: str | None = field(default=None, converter=_as_deployment)
    audit_retention: timedelta | None = field(default=None, validator=optional(_duration(_DAY, 36_600 * _DAY)))
    audit_reads: Literal["all", "secrets"] | None = field(default=None, validator=optional(_one_of("all", "secrets")))
    exhausted_after: timedelta = field(
        default=DEFAULT_EXHAUSTION,
        validator=_duration(timedelta(hours=1), 365 * _DAY),
    )
    provider_concurrency: int = field(default=DEFAULT_CONCURRENCY, validator=_whole(1, 1000))
    client_pause_accounts: int = field(default=3, validator=_whole(1, MOST_ACCOUNTS))
    client_probe_interval: timedelta = field(
        default=timedelta(seconds=60),
        validator=_duration(timedelta(seconds=1), timedelta(hours=1)),
    )
    fleet_guard_accounts: int = field(default=5, validator=_whole(2, MOST_COUNTED))
    fleet_guard_window: timedelta = field(
        default=timedelta(minutes=10),
        validator=_duration(timedelta(minutes=1), _DAY),
    )
    fleet_guard_limit: timedelta = field(
        default=timedelta(days=4),
        validator=_duration(timedelta(hours=1), timedelta(days=365)),
    )

    def __attrs_post_init__(self) -> None:
        if self.rejection_confirm_after > self.rejection_confirm_within:
            raise ConfigurationError("rejection_confirm_after must not be longer than rejection_confirm_within")

    @property
    def memory(self) -> MemoryPolicy:
        """The limits of the rows that a process remembers."""
        return MemoryPolicy(self.read_cache or _ZERO, self.serve_stale, self.read_cache_size)

    @property
    def remembered(self) -> timedelta:
        """The longest time for which a process may return a row that the database has deleted.

        A read that the database has answered just before may take `storage_timeout` to arrive.
        """
        return max(self.serve_stale, self.read_cache or _ZERO) + self.storage_timeout

    @property
    def client_rules(self) -> ClientRules:
        """The numbers by which the vault distinguishes a fault of a client from dead grants."""
        return ClientRules(
            self.client_pause_accounts,
            self.client_probe_interval,
            self.fleet_guard_accounts,
            self.fleet_guard_window,
            self.fleet_guard_limit,
        )

    @classmethod
    @scrubbed
    def from_env(cls, environ: Mapping[str, str] | None = None) -> VaultConfig:
        """Read the configuration from environment variables.

        - ``DATABASE_URL``, ``ENCRYPTION_SECRET`` or ``ENCRYPTION_SECRET_FILE``, ``ENCRYPTION_SECRET_PREVIOUS`` or
          ``ENCRYPTION_SECRET_PREVIOUS_FILE``. The same name with the prefix ``TOKEN_VAULT_`` takes precedence.
        - Every other field is ``TOKEN_VAULT_<FIELD>``; durations are in seconds.
        - One final line end of a secret's file is not part of the secret.

        Args:
            environ: the variables; None reads the variables of the process.

        Raises:
            ConfigurationError: a variable is not valid or not known, or a secret is given both directly and as a file.
                The message does not repeat a value, and names the variable where possible.
        """
        variables = os.environ if environ is None else environ
        fields = read_environment(variables)
        try:
            return cls(**fields)
        except ConfigurationError as error:
            failure = ConfigurationError(with_variable(str(error), variables), code=error.code)
        raise failure

    @property
    def uses_default_database(self) -> bool:
        """Whether the default database is used, because the host named none."""
        return self.database_url.is_default
