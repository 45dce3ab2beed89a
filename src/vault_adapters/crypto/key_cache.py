"""`KeyCache`: holds unwrapped data keys of tenants for a limited time."""

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field

from vault_adapters.crypto.envelope import EnvelopeKey

_RENEWALS = 20
"""``ttl`` divided by this number is the shortest time between two tries to renew a key.

Tries are limited because each may ask a key service.
"""


@define(eq=False, repr=False)
class _Held:
    key: EnvelopeKey
    until: float
    renew_at: float


@define(eq=False, repr=False)
class _TenantKeys:
    held: dict[bytes, _Held] = field(factory=dict)
    until: float = 0.0  # expiry of the key that was put last
    active: _Held | None = None


class KeyCache:
    """A bounded cache that drops the least recently used tenants first and never returns an expired key.

    An expired key stays in memory until `get` asks for it, or until the cache drops its tenant, for example in a `put`.

    Args:
        capacity: largest number of data keys to hold.
        ttl: time to hold a key, in seconds.
        monotonic: a monotonic clock, in seconds.
        renew: called with a tenant and a key id when `get` returns a key that was put at least half of ``ttl`` ago.
            Until the key is put anew, `get` calls ``renew`` at most once in a twentieth of ``ttl``. None: no call.
    """

    def __init__(
        self,
        capacity: int,
        ttl: float,
        monotonic: Callable[[], float],
        renew: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._capacity = capacity
        self._ttl = ttl
        self._monotonic = monotonic
        self._renew = renew
        self._tenants: OrderedDict[str, _TenantKeys] = OrderedDict()
        self._size = 0
        self.hits = 0

    def __len__(self) -> int:
        """Return how many keys are held, expired ones included."""
        return self._size

    def get(self, tenant_id: str, key_id: bytes) -> EnvelopeKey | None:
        """Return one key of this tenant, or None if it is not held or has expired."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return None
        held = tenant.held.get(key_id)
        if held is None:
            return None
        now = self._monotonic()
        if held.until <= now:
            self._drop(tenant_id, tenant, key_id)
            return None
        if held.renew_at <= now and self._renew is not None:
            held.renew_at = now + self._ttl / _RENEWALS
            self._renew(tenant_id, key_id)
        self._tenants.move_to_end(tenant_id)
        self.hits += 1
        return held.key

    def holds(self, tenant_id: str, key_id: bytes) -> bool:
        """Return whether `get` would return a key now; this does not count as a use."""
        tenant = self._tenants.get(tenant_id)
        held = None if tenant is None else tenant.held.get(key_id)
        return held is not None and held.until > self._monotonic()

    def get_active(self, tenant_id: str) -> EnvelopeKey | None:
        """Return the key that was last found to be the tenant's active one, or None."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None or tenant.active is None or tenant.active.until <= self._monotonic():
            return None
        self._tenants.move_to_end(tenant_id)
        self.hits += 1
        return tenant.active.key

    def put(self, tenant_id: str, key: EnvelopeKey) -> None:
        """Hold a key for ``ttl`` seconds from now."""
        self._forget_the_first_that_are_over()
        tenant = self._tenants.setdefault(tenant_id, _TenantKeys())
        self._size += key.key_id not in tenant.held
        now = self._monotonic()
        tenant.until = now + self._ttl
        tenant.held[key.key_id] = _Held(key, tenant.until, now + self._ttl / 2)
        self._tenants.move_to_end(tenant_id)
        while self._size > self._capacity:
            self.forget_tenant(next(iter(self._tenants)))

    def put_active(self, tenant_id: str, key: EnvelopeKey) -> None:
        """Remember a held key as the tenant's active one until its present expiry; no later `put` extends this time."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.active = tenant.held.get(key.key_id)

    def forget_active(self, tenant_id: str) -> None:
        """Forget which key is active; the key itself stays and can still decrypt."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.active = None

    def forget_key(self, tenant_id: str, key_id: bytes) -> None:
        """Drop one key of this tenant."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and key_id in tenant.held:
            self._drop(tenant_id, tenant, key_id)

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop all keys of this tenant."""
        tenant = self._tenants.pop(tenant_id, None)
        if tenant is not None:
            self._size -= len(tenant.held)

    def _drop(self, tenant_id: str, tenant: _TenantKeys, key_id: bytes) -> None:
        del tenant.held[key_id]
        self._size -= 1
        # A `put` after `put_active` replaces the key in `held`, but not in `active`. So compare ids, not objects.
        if tenant.active is not None and tenant.active.key.key_id == key_id:
            tenant.active = None
        if not tenant.held:
            del self._tenants[tenant_id]

    def _forget_the_first_that_are_over(self) -> None:
        """Drop the least recently used tenants whose keys have all expired; stop at the first other tenant."""
        now = self._monotonic()
        while (first := next(iter(self._tenants), None)) is not None and self._tenants[first].until <= now:
            self.forget_tenant(first)

    def clear(self) -> None:
        """Drop all keys."""
        self._tenants.clear()
        self._size = 0
