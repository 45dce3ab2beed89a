"""Grants move into the vault and back while the old refresher works; the fence is what keeps them."""

import pytest
from tests.scale.moving import move
from tests.support.databases import both_stores

pytestmark = [pytest.mark.processes, pytest.mark.real_scrypt]


@both_stores
def test_no_grant_is_lost_on_the_way_in_and_back(database, tmp_path):
    moved = move(database, tmp_path, grants=200, processes=2)
    assert (moved.lost, moved.inside, moved.back) == (0, 200, 200)
    assert moved.before >= 100


def test_without_the_fence_a_forgotten_process_loses_grants(database, tmp_path):
    assert move(database, tmp_path, grants=200, processes=2, fenced=False).lost > 0
