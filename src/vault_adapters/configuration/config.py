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

from attrs import Attribute, field, fields, frozen
from attrs.validators import optional

from vault_adapters.configuration.database_url import ConfiguredUrl, as_configured_url
from vault_adapters.configuration.environment import LEAST_SECRET, read_environment, with_variable
from vault_adapters.configuration.tuning import Tuning
from vault_adapters.configuration.validation import DAY, ZERO, as_path, duration, whole
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.text import plain_text
from vault_domain.entities.token import DEFAULT_REFRESH_BUFFER
from vault_domain.rules.remembering import MemoryPolicy

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_MASTER_KEY = re.compile(r"(local|(aws-kms|gcp-kms|azure-kv|transit|pkcs11):[A-Za-z0-9:/_.;=\[\] -]{1,2048})\Z")

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
        raise ConfigurationError('master_key must be "local" or name a key of a key service, such as "aws-kms:<ARN>"')
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
    return as_path(value, "journal_dir")


def _one_of(*choices: str) -> Callable[[Any, Attribute[Any], Any], None]:
    def validate(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not isinstance(value, str) or value not in choices:
            raise ConfigurationError(f"{attribute.name} must be {' or '.join(choices)}")

    return validate


def _as_flag(value: bool) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError("prepared_statements must be True or False")
    return value


def _tuning(_: Any, __: Attribute[Any], value: Any) -> None:
    if not isinstance(value, Tuning):
        raise ConfigurationError("tuning must be a Tuning")


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
        master_key: ``local`` (derived from the secret) or the URI of a key of a key service, such as ``aws-kms:`` and
            a key id, alias or ARN.
        previous_master_key: the previous master key, during a master key rotation.
        refresh_buffer: time before expiry from which an access token is refreshed.
        refresh_deadline: longest time that a caller waits for a provider.
        answer_deadline: time after ``refresh_deadline`` for which the vault still waits for the provider's answer, to
            store it, although no caller waits any more; at most five minutes.
        quiescence: waiting time after an attempt with an unknown outcome, if the provider's rotation policy is strict.
            At a provider with a grace period, the vault waits for this time too if the grace period of the credential
            that was presented is over, or if too little of the grace period is left for another request.
        journal_dir: directory for refreshed tokens until the database has stored them; None: they stay in memory.
        data_key_ttl: time for which an unwrapped data key may be used before it is unwrapped again.
        pool_size: largest number of connections to Postgres.
        prepared_statements: False for a pooler in transaction mode that does not support them.
        postgres_schema: the schema that holds the vault's tables.
        scrypt_log2_n: cost of deriving a new local master key, 14 to 18; 14 if the secret was made by
            `generate_encryption_secret`. Existing keys keep their cost.
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
        tuning: numbers that few hosts have a reason to change.

    Raises:
        ConfigurationError: a field is not valid; the message does not repeat its value.
    """

    database_url: ConfiguredUrl = field(default=DEFAULT_DATABASE_URL, converter=_as_url)
    encryption_secret: Secret | None = field(default=None, converter=_as_optional_secret)
    previous_encryption_secret: Secret | None = field(default=None, converter=_as_optional_secret)
    master_key: str = field(default="local", converter=_as_master_key)
    previous_master_key: str | None = field(default=None, converter=_as_optional_master_key)
    refresh_buffer: timedelta = field(default=DEFAULT_REFRESH_BUFFER, validator=duration(ZERO, DAY))
    refresh_deadline: timedelta = field(
        default=timedelta(seconds=10),
        validator=duration(timedelta(seconds=0.1), timedelta(minutes=5)),
    )
    answer_deadline: timedelta = field(default=timedelta(seconds=60), validator=duration(ZERO, timedelta(minutes=5)))
    quiescence: timedelta = field(default=timedelta(seconds=60), validator=duration(ZERO, DAY))
    journal_dir: Path | None = field(default=None, converter=_as_directory)
    data_key_ttl: timedelta = field(default=timedelta(minutes=5), validator=duration(ZERO, DAY))
    pool_size: int = field(default=10, validator=whole(1, 1000))
    prepared_statements: bool = field(default=True, converter=_as_flag)
    postgres_schema: str = field(default="token_vault", converter=_as_schema)
    scrypt_log2_n: int = field(default=17, validator=whole(14, 18))
    storage_timeout: timedelta = field(
        default=timedelta(seconds=5),
        validator=duration(timedelta(seconds=0.5), timedelta(minutes=5)),
    )
    read_cache: timedelta | None = field(default=None, validator=optional(duration(ZERO, DAY)))
    serve_stale: timedelta = field(default=timedelta(minutes=10), validator=duration(ZERO, DAY))
    read_cache_size: int = field(default=10_000, validator=whole(1, 10_000_000))
    deployment: str | None = field(default=None, converter=_as_deployment)
    audit_retention: timedelta | None = field(default=None, validator=optional(duration(DAY, 36_600 * DAY)))
    audit_reads: Literal["all", "secrets"] | None = field(default=None, validator=optional(_one_of("all", "secrets")))
    tuning: Tuning = field(factory=Tuning, validator=_tuning)

    @property
    def memory(self) -> MemoryPolicy:
        """The limits of the rows that a process remembers."""
        return MemoryPolicy(self.read_cache or ZERO, self.serve_stale, self.read_cache_size)

    @property
    def remembered(self) -> timedelta:
        """The longest time for which a process may return a row that the database has deleted.

        A read that the database has answered just before may take `storage_timeout` to arrive.
        """
        return max(self.serve_stale, self.read_cache or ZERO) + self.storage_timeout

    @classmethod
    @scrubbed
    def from_env(cls, environ: Mapping[str, str] | None = None) -> VaultConfig:
        """Read the configuration from environment variables.

        - ``DATABASE_URL``, ``ENCRYPTION_SECRET`` or ``ENCRYPTION_SECRET_FILE``, ``ENCRYPTION_SECRET_PREVIOUS`` or
          ``ENCRYPTION_SECRET_PREVIOUS_FILE``. The same name with the prefix ``TOKEN_VAULT_`` takes precedence.
        - Every other field, those of `Tuning` included, is ``TOKEN_VAULT_<FIELD>``; durations are in seconds.
        - One final line end of a secret's file is not part of the secret.

        Args:
            environ: the variables; None reads the variables of the process.

        Raises:
            ConfigurationError: a variable is not valid or not known, or a secret is given both directly and as a file.
                The message does not repeat a value, and names the variable where possible.
        """
        variables = os.environ if environ is None else environ
        known = (*fields(cls), *fields(Tuning))
        found = read_environment(variables, known)
        tuned = {each.name: found.pop(each.name) for each in fields(Tuning) if each.name in found}
        try:
            return cls(**found, tuning=Tuning(**tuned))
        except ConfigurationError as error:
            failure = ConfigurationError(with_variable(str(error), variables, known), code=error.code)
        raise failure

    @property
    def uses_default_database(self) -> bool:
        """Whether the default database is used, because the host named none."""
        return self.database_url.is_default
