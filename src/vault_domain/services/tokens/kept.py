"""Counts the kept answers that could not be read."""

from collections import Counter

from vault_domain.ports.pages import AnswerPlace, Pages
from vault_domain.rules.unread import MOST_KEPT

_PAGE = 500
"""Largest number of answers on a page. One page of them all would hold up the event loop for a tenth of a second."""


async def count_kept(pages: Pages) -> Counter[str]:
    """Return the number of kept answers of each provider; no further page is read once there are `MOST_KEPT`."""
    found: Counter[str] = Counter()
    after: AnswerPlace | None = None
    while found.total() < MOST_KEPT and (page := await pages.kept_answers(limit=_PAGE, after=after)):
        found.update(account.provider for account, _ in page)
        after = page[-1][1]
    return found
