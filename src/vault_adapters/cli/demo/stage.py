"""What every step of the demonstration has at hand."""

from __future__ import annotations

from attrs import field, frozen

from vault_adapters.cli.demo.intruder import Intruder
from vault_adapters.cli.demo.place import Place
from vault_adapters.cli.demo.sample import TENANTS
from vault_adapters.cli.screen import Screen
from vault_adapters.cli.session import gather
from vault_domain import Secret, TokenInfo, TokenKey, TokenVault


@frozen
class Stage:
    """The vault, the screen, and the file behind the vault.

    Attributes:
        vault: open.
        screen: where to show things.
        place: the demonstration's files.
        intruder: has the database and no secret.
        stored: what was given to the vault, to compare with what it returns.
    """

    vault: TokenVault
    screen: Screen
    place: Place
    intruder: Intruder
    stored: dict[TokenKey, Secret] = field(factory=dict)

    async def tokens(self) -> list[TokenInfo]:
        """Return every token of every tenant, as the vault lists them."""
        return [info for tenant in TENANTS for info in await gather(self.vault.iter_tokens(tenant))]
