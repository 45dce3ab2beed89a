"""When a credential may be presented after the store's timeline has changed."""

from datetime import UTC, datetime, timedelta

import pytest

from vault_domain.entities.rotation_policy import Rotation
from vault_domain.rules.turns import settled_at

NOW, SECOND = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=1)
HOLD = 15 * SECOND


@pytest.mark.parametrize(
    ("turned", "pause"),
    [
        (timedelta(0), 15),
        (SECOND, 14),
        (14.999 * SECOND, 0.001),
        (HOLD, 0),
        (timedelta(days=1), 0),
        (-0.5 * SECOND, 15.5),  # another process stored the change just after the time `NOW` was read
        (-2 * SECOND, 0),  # the clock was set back, so nobody knows how long ago the timeline changed
    ],
)
def test_a_strict_provider_is_not_asked_for_a_while(turned, pause):
    assert settled_at(Rotation.strict(), HOLD, NOW - turned, NOW) - NOW == pause * SECOND


@pytest.mark.parametrize(
    ("rotation", "hold", "turned_at"),
    [
        (Rotation.strict(), HOLD, None),
        (Rotation.strict(), timedelta(0), NOW),
        (Rotation.grace(60), HOLD, NOW),
        (Rotation.non_rotating(), HOLD, NOW),
    ],
)
def test_there_is_no_pause_where_it_is_not_needed(rotation, hold, turned_at):
    assert settled_at(rotation, hold, turned_at, NOW) == NOW
