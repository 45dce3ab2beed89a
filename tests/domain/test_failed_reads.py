"""Failed reads are counted for each tenant, in bounded memory."""

from vault_domain.services.tokens.failed_reads import MOST_TENANTS, FailedReads


def test_each_tenant_has_a_count():
    reads = FailedReads()
    for tenant in ("a", "b", "b"):
        reads.add(tenant)
    assert [reads.count(tenant) for tenant in ("a", "b", "c", None)] == [1, 2, 0, 3]


def test_the_oldest_count_makes_room_and_the_total_keeps_it():
    reads = FailedReads()
    reads.add("first")
    reads.add("second")
    reads.add("first")
    for number in range(MOST_TENANTS - 1):
        reads.add(str(number))
    assert [reads.count(tenant) for tenant in ("first", "second", "0")] == [2, 0, 1]
    assert reads.count() == MOST_TENANTS + 2
    assert len(reads._of_tenants) == MOST_TENANTS
