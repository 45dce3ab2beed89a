"""The use cases behind one vault, together."""

from attrs import frozen

from vault_domain.services.keys.data_keys import RotationService
from vault_domain.services.keys.master_keys import RewrappingService
from vault_domain.services.keys.values import ResealingService
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.sweep import SweepService
from vault_domain.services.tokens.accounts import AccountService
from vault_domain.services.tokens.erasing import ErasureService
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.importing import ImportService
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.single import TokenService


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
