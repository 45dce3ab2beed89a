"""Collects the findings about a vault and its accounts, one account after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import Account, AccountInfo
from vault_domain.entities.findings import Example, Finding, FindingCode, Severity
from vault_domain.rules.advice import failure, finding
from vault_domain.rules.examination import ProviderFacts, account_codes, provider_codes

MOST_EXAMPLES = 3


class _Group:
    """The accounts that one finding concerns."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[Example] = []

    def add(self, example: Example) -> None:
        self.count += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(example)


class Examination:
    """Examines accounts one by one, and keeps counts and a few examples.

    If a provider ends all grants of a user when one token is revoked, the examination also looks for accounts of the
    same user. It keeps the identifiers of this provider's accounts, because many other accounts may be examined between
    two accounts of one user.

    Args:
        facts: returns what is known about a provider.
        now: the present time.
        notice: time before a refresh token's expiry from which the token counts as ending soon; see `account_codes`.
        has_journal: whether the vault has a journal.
    """

    def __init__(
        self, facts: Callable[[str], ProviderFacts], now: datetime, notice: timedelta, *, has_journal: bool
    ) -> None:
        self._facts_of = facts
        self._now = now
        self._notice = notice
        self._has_journal = has_journal
        self._facts: dict[str, ProviderFacts] = {}
        self._all: defaultdict[str, _Group] = defaultdict(_Group)
        self._found: defaultdict[tuple[FindingCode, str], _Group] = defaultdict(_Group)
        self._failing: defaultdict[tuple[str, str | None], _Group] = defaultdict(_Group)
        self._rotating = _Group()
        self._first: dict[tuple[str, str], Example | None] = {}
        self.examined = 0

    def see(self, info: AccountInfo) -> None:
        """Examine one account."""
        name = info.account.provider
        if name not in self._facts:
            self._facts[name] = self._facts_of(name)
        facts, example = self._facts[name], Example(info.account, info.label)
        self.examined += 1
        self._all[name].add(example)
        for code in account_codes(info, facts, self._now, self._notice):
            if code is FindingCode.REFRESH_FAILING:
                self._failing[name, info.reason].add(example)
            else:
                self._found[code, name].add(example)
        if facts.ends_all_grants:
            self._share(example)
        if info.expires_at is not None and facts.rotates is not False:
            self._rotating.add(example)

    def add_unreadable(self, accounts: Iterable[Account]) -> None:
        """Note accounts with a value that does not decrypt."""
        for account in accounts:
            self._found[FindingCode.VALUES_UNREADABLE, account.provider].add(Example(account))

    def _share(self, example: Example) -> None:
        """Record accounts of different tenants that have the same provider and identifier: they belong to one user."""
        account = example.account
        if account.identifier is None:
            return
        user = (account.provider, account.identifier)
        if user not in self._first:
            self._first[user] = example
            return
        shared, first = self._found[FindingCode.SHARED_GRANT, account.provider], self._first[user]
        if first is not None:
            shared.add(first)
            self._first[user] = None  # the first account is counted now
        shared.add(example)

    def findings(self, others: Iterable[Finding] = (), *, is_complete: bool = True) -> list[Finding]:
        """Return all findings, the most urgent first.

        Args:
            others: findings about the vault itself.
            is_complete: whether every account was examined.
        """
        known = [self._with_accounts(each) for each in others]
        pauses = {(each.provider, each.detail) for each in known if each.code is FindingCode.PROVIDER_PAUSED}
        found = [*known, *self._of_accounts(), *self._of_failures(pauses)]
        if not self._has_journal and self._rotating.count:
            found.append(_concerning(FindingCode.JOURNAL_MISSING, None, None, self._rotating))
        if not is_complete:
            found.append(finding(FindingCode.ACCOUNTS_LEFT, detail=f"{self.examined} were examined"))
        return in_order(found)

    def _with_accounts(self, other: Finding) -> Finding:
        """Add to a pause the accounts that it holds back, so that they are no finding of their own."""
        group = self._failing.get((other.provider or "", other.detail))
        if other.code is not FindingCode.PROVIDER_PAUSED or group is None:
            return other
        return evolve(other, accounts=group.count, examples=tuple(group.examples))

    def _of_failures(self, pauses: Collection[tuple[str | None, str | None]]) -> Iterable[Finding]:
        for (name, reason), group in self._failing.items():
            if (name, reason) in pauses:
                continue
            found = failure(name, reason)
            if 1 < self._all[name].count < 2 * group.count:
                found = evolve(found, sentence=f"{found.sentence} Most accounts of the provider are concerned.")
            yield evolve(found, accounts=group.count, examples=tuple(group.examples))

    def _of_accounts(self) -> Iterable[Finding]:
        for (code, name), group in self._found.items():
            yield _concerning(code, name, None, group)
        for name, facts in self._facts.items():
            for code, detail in provider_codes(facts):
                yield _concerning(code, name, detail, self._all[name])


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Return findings sorted by severity, code and provider."""
    severities, codes = list(Severity), list(FindingCode)
    return sorted(
        found, key=lambda each: (severities.index(each.severity), codes.index(each.code), each.provider or "")
    )


def _concerning(code: FindingCode, provider: str | None, detail: str | None, group: _Group) -> Finding:
    return finding(code, provider=provider, detail=detail, accounts=group.count, examples=tuple(group.examples))
