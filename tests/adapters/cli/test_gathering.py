"""`gather` collects what a command shows."""

from vault_adapters.cli.session import gather


async def counted(asked, length):
    for number in range(length):
        asked.append(number)
        yield number


async def test_nothing_is_read_beyond_the_limit():
    """The item after the last one may begin another page, which is a query of its own."""
    asked = []
    assert await gather(counted(asked, 5), 2) == [0, 1]
    assert asked == [0, 1]


async def test_all_are_read_without_a_limit_or_below_it():
    assert await gather(counted([], 5)) == await gather(counted([], 5), 6) == [0, 1, 2, 3, 4]
