"""Settings of the property tests; this folder's own session reads no other conftest."""

from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail. All else is hypothesis' default, which in CI is the same run each time.
settings.register_profile("vault", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vault")
