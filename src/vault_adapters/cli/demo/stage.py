"""The objects that every step of the demonstration uses."""

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
    """The vault, the screen, the files and the intruder.

    Attributes:
        vault: the open vault.
        screen: the screen to print to.
        place: the files of the demonstration.
        intruder: the intruder, who has the database but not the secret.
        stored: the values that were stored, for comparison with the values that the vault returns later.
    """

    vault: TokenVault
    screen: Screen
    place: Place
    intruder: Intruder
    stored: dict[TokenKey, Secret] = field(factory=dict)

    async def tokens(self) -> list[TokenInfo]:
        """Return every token of every tenant, as the vault lists them."""
        return [info for tenant in TENANTS for info in await gather(self.vault.iter_tokens(tenant))]
