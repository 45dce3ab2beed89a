"""The tenants' data keys that this process holds, for a while."""

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field, frozen

from vault_adapters.crypto.envelope import EnvelopeKey


@frozen
class _Held:
    key: EnvelopeKey
    until: float


@define
class _TenantKeys:
    held: dict[bytes, _Held] = field(factory=dict)
    until: float = 0.0  # that of the key that was put last
    active: _Held | None = None


class KeyCache:
    """Bounded, least recently used tenants first out; a key is of no use after its time, whether it was used or not.

    It leaves the memory then when it is asked for, or when another one comes.

    Args:
        capacity: how many data keys to hold.
        ttl: for how many seconds.
        monotonic: a clock in seconds that never goes back.
    """

    def __init__(self, capacity: int, ttl: float, monotonic: Callable[[], float]) -> None:
        self._capacity = capacity
        self._ttl = ttl
        self._monotonic = monotonic
        self._tenants: OrderedDict[str, _TenantKeys] = OrderedDict()
        self._size = 0

    def get(self, tenant_id: str, key_id: bytes) -> EnvelopeKey | None:
        """Return one key of this tenant, or None where it is not held or its time is over."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return None
        held = tenant.held.get(key_id)
        if held is None:
            return None
        if held.until <= self._monotonic():
            self._drop(tenant_id, tenant, key_id)
            return None
        self._tenants.move_to_end(tenant_id)
        return held.key

    def get_active(self, tenant_id: str) -> EnvelopeKey | None:
        """Return the key that was last found to be the tenant's active one, or None."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None or tenant.active is None or tenant.active.until <= self._monotonic():
            return None
        self._tenants.move_to_end(tenant_id)
        return tenant.active.key

    def put(self, tenant_id: str, key: EnvelopeKey) -> None:
        """Hold a key from now on."""
        self._forget_the_first_that_are_over()
        tenant = self._tenants.setdefault(tenant_id, _TenantKeys())
        self._size += key.key_id not in tenant.held
        tenant.until = self._monotonic() + self._ttl
        tenant.held[key.key_id] = _Held(key, tenant.until)
        self._tenants.move_to_end(tenant_id)
        while self._size > self._capacity:
            self.forget_tenant(next(iter(self._tenants)))

    def put_active(self, tenant_id: str, key: EnvelopeKey) -> None:
        """Remember that a held key is the tenant's active one; no longer than the key itself is held."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.active = tenant.held.get(key.key_id)

    def forget_active(self, tenant_id: str) -> None:
        """Forget which key is active; it still opens."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.active = None

    def forget_tenant(self, tenant_id: str) -> None:
        """Forget all keys of this tenant."""
        tenant = self._tenants.pop(tenant_id, None)
        if tenant is not None:
            self._size -= len(tenant.held)

    def _drop(self, tenant_id: str, tenant: _TenantKeys, key_id: bytes) -> None:
        held = tenant.held.pop(key_id)
        self._size -= 1
        if tenant.active is held:
            tenant.active = None
        if not tenant.held:
            del self._tenants[tenant_id]

    def _forget_the_first_that_are_over(self) -> None:
        """Let go of keys that nobody has asked for since their time ended; the tenants used last are at the end."""
        now = self._monotonic()
        while (first := next(iter(self._tenants), None)) is not None and self._tenants[first].until <= now:
            self.forget_tenant(first)

    def clear(self) -> None:
        """Forget everything."""
        self._tenants.clear()
        self._size = 0
