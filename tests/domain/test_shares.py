"""Which tenant's attempt begins next."""

import pytest

from vault_domain.rules.shares import next_member


def crowd(most, *members):
    """Let members that always want another attempt fill the turns; return how many turns each has."""
    taken, waiting = dict.fromkeys(members, 0), list(members)
    while (member := next_member(waiting, taken, most - sum(taken.values()))) is not None:
        taken[member] += 1
        waiting.remove(member)
        waiting.append(member)
    return list(taken.values())


def test_the_first_member_is_the_next():
    assert next_member(["a", "b"], {"a": 2, "b": 1}, 5) == "a"
    assert next_member(["b", "a"], {"a": 2, "b": 1}, 5) == "b"
    assert next_member([], {}, 5) is None


def test_without_a_free_turn_nobody_begins():
    assert next_member(["a"], {}, 0) is None


def test_a_member_with_its_share_is_passed_over():
    assert next_member(["a", "b"], {"a": 6, "b": 5}, 2) == "b"
    assert next_member(["a"], {"a": 6}, 2) is None


def test_the_last_turn_is_for_members_with_few():
    assert next_member(["a", "b"], {"a": 3, "b": 2}, 1) == "b"
    assert next_member(["a", "b"], {"a": 3}, 1) == "b"


@pytest.mark.parametrize(
    ("most", "share"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 6), (10, 8), (13, 10), (32, 24), (1000, 750)]
)
def test_one_member_has_three_quarters_of_the_turns(most, share):
    assert crowd(most, "a") == [share]


def test_several_members_leave_room_for_one_more():
    assert crowd(32, "a", "b") == [14, 14]
    assert crowd(32, "a", "b", "c") == [10, 10, 9]
    assert sum(crowd(32, *range(40))) == 32
