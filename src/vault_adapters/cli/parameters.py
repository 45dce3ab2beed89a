"""Parameters that several commands share, with their help."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from vault_domain import InvalidInputError

Tenant = Annotated[str, Parameter(help="The tenant's id.")]
Provider = Annotated[str, Parameter(help="The provider's name, such as google.")]
# Use a Literal, because cyclopts would change the spelling of an enum's names.
Kind = Annotated[
    Literal["access_token", "refresh_token", "api_key", "webhook_secret"], Parameter(help="The kind of the value.")
]

Identifier = Annotated[str | None, Parameter(help="Distinguishes several accounts at one provider.")]
OnlyTenant = Annotated[str | None, Parameter(name="--tenant", help="Only this tenant.")]
OnlyProvider = Annotated[str | None, Parameter(name="--provider", help="Only this provider.")]
Limit = Annotated[int | None, Parameter(help="Largest number of accounts.")]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.", show_default=False)]

TenantOrAll = Annotated[str | None, Parameter(help="The tenant's id; without it, use --all.")]
All = Annotated[bool, Parameter(name="--all", help="All tenants.", show_default=False)]


def one_tenant_or_all(tenant: str | None, every: bool) -> None:
    """Refuse a command that names neither a tenant nor ``--all``, or that names both.

    If the user forgets the tenant, the command must not show the data of all tenants.
    """
    if (tenant is None) is not every:
        raise InvalidInputError("name a tenant, or use --all")
