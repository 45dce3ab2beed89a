"""Settings of the property tests. The session `domain` of nox reads no other conftest."""

from hypothesis import HealthCheck, settings

# No deadline, because a busy machine must not fail a test. In CI, `settings.default` is the profile `ci` of Hypothesis,
# which runs the same examples each time.
settings.register_profile("vault", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vault")
