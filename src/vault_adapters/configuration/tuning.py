"""`Tuning`: numbers of a vault that few hosts have a reason to change."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from vault_adapters.configuration.validation import DAY, ZERO, as_path, duration, whole
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.suspicion import LEAST_CONFIRMATION, MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE
from vault_domain.rules.bounds import DEFAULT_CONCURRENCY, DEFAULT_HOLD, MOST_ACCOUNTS, MOST_COUNTED
from vault_domain.rules.refusals import DEFAULT_EXHAUSTION

if TYPE_CHECKING:
    from vault_domain.rules.clients import ClientRules


def _as_tokens(value: Path | str | None) -> Path | None:
    return as_path(value, "key_service_tokens")


@scrubbed_class
@frozen(kw_only=True)
class Tuning:
    """Numbers that few hosts have a reason to change.

    Args:
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
        close_timeout: longest time for which a closing vault tries to store refreshed tokens that wait for the
            database. Refreshes that are running may take longer.
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

        key_service_tokens: file with the tokens for servers of HashiCorp Vault or OpenBao, as JSON from the address of
            a server to its token: ``{"https://vault.example:8200": {"token": "..."}}``, and ``namespace`` if needed. It
            is read at each use, because tokens are renewed. Modules and PINs of hardware security modules stand there
            too, and credentials for Google Cloud KMS and Azure Key Vault that are not the default ones. None: there are
            none of these.

    Raises:
        ConfigurationError: a field is not valid; the message does not repeat its value.
    """

    hold_answers: timedelta = field(default=DEFAULT_HOLD, validator=duration(ZERO, timedelta(minutes=10)))
    rejection_confirm_after: timedelta = field(default=LEAST_CONFIRMATION, validator=duration(ZERO, DAY))
    rejection_confirm_within: timedelta = field(default=MOST_CONFIRMATION, validator=duration(ZERO, DAY))
    reconnect_notice: timedelta = field(default=RECONNECT_NOTICE, validator=duration(ZERO, 366 * DAY))
    close_timeout: timedelta = field(
        default=timedelta(seconds=10),
        validator=duration(timedelta(seconds=0.1), timedelta(minutes=5)),
    )
    exhausted_after: timedelta = field(
        default=DEFAULT_EXHAUSTION,
        validator=duration(timedelta(hours=1), 365 * DAY),
    )
    provider_concurrency: int = field(default=DEFAULT_CONCURRENCY, validator=whole(1, 1000))
    client_pause_accounts: int = field(default=3, validator=whole(1, MOST_ACCOUNTS))
    client_probe_interval: timedelta = field(
        default=timedelta(seconds=60),
        validator=duration(timedelta(seconds=1), timedelta(hours=1)),
    )
    fleet_guard_accounts: int = field(default=5, validator=whole(2, MOST_COUNTED))
    fleet_guard_window: timedelta = field(
        default=timedelta(minutes=10),
        validator=duration(timedelta(minutes=1), DAY),
    )
    fleet_guard_limit: timedelta = field(
        default=timedelta(days=4),
        validator=duration(timedelta(hours=1), timedelta(days=365)),
    )

    key_service_tokens: Path | None = field(default=None, converter=_as_tokens)

    def __attrs_post_init__(self) -> None:
        if self.rejection_confirm_after > self.rejection_confirm_within:
            raise ConfigurationError("rejection_confirm_after must not be longer than rejection_confirm_within")

    @property
    def client_rules(self) -> ClientRules:
        """The numbers by which the vault distinguishes a fault of a client from dead grants."""
        from vault_domain.rules.clients import ClientRules

        return ClientRules(
            self.client_pause_accounts,
            self.client_probe_interval,
            self.fleet_guard_accounts,
            self.fleet_guard_window,
            self.fleet_guard_limit,
        )
