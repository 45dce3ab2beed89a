"""The use cases behind one vault, together."""

from attrs import frozen

from vault_domain.services.accounts import AccountService
from vault_domain.services.erasing import ErasureService
from vault_domain.services.health import HealthService
from vault_domain.services.importing import ImportService
from vault_domain.services.listing import ListingService
from vault_domain.services.refreshing import RefreshService
from vault_domain.services.resealing import ResealingService
from vault_domain.services.rewrapping import RewrappingService
from vault_domain.services.rotating import RotationService
from vault_domain.services.sweeping import SweepService
from vault_domain.services.tokens import TokenService


@frozen
class KeyServices:
    """Those that concern keys."""

    rotating: RotationService
    resealing: ResealingService
    rewrapping: RewrappingService


@frozen
class VaultServices:
    """All of them, wired by the composition root."""

    tokens: TokenService
    accounts: AccountService
    listing: ListingService
    health: HealthService
    refreshing: RefreshService
    sweeping: SweepService
    keys: KeyServices
    erasing: ErasureService
    importing: ImportService
