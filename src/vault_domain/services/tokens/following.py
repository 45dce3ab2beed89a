"""Follows the chains of tenants through the seals, and compares heads that were kept elsewhere on the way."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from attrs import define, field

from vault_domain.entities.audit_chain import AuditFault, AuditHead
from vault_domain.entities.chain_records import Seal
from vault_domain.rules.audit_chain import START, ChainKey, Segment


@define
class FollowedChains:
    """Follows each chain through the seals, and compares given heads on the way."""

    key: ChainKey
    heads: Sequence[AuditHead]
    ends: dict[bytes, tuple[int, bytes]] = field(factory=dict)
    reached: set[int] = field(factory=set)
    differing: set[int] = field(factory=set)

    def pass_seal(self, seal: Seal, *, is_readable: bool) -> None:
        """Compare the heads that were made after this seal."""
        if not is_readable:  # nobody knows which chains it continued
            self.ends.clear()
        for index, head in enumerate(self.heads):
            if head.seal == seal.number:
                same = hmac.compare_digest(seal.digest.hex(), head.digest)
                (self.reached if same else self.differing).add(index)

    def take(self, segment: Segment, *, is_first: bool) -> bool:
        """Return whether a segment continues its chain.

        Args:
            segment: the segment.
            is_first: whether a chain that was not met yet begins here; if False, earlier seals may have been emptied.
        """
        known = self.ends.get(segment.chain, (0, START) if is_first else None)
        after = segment.events + len(segment.entries), self.key.after(segment)
        self.ends[segment.chain] = after
        for events, digest in (after, (segment.events, segment.before)):
            for index, head in enumerate(self.heads):
                if head.chain == segment.chain.hex() and head.events == events and head.chain_digest != digest.hex():
                    self.differing.add(index)
        return known is None or known == (segment.events, segment.before)

    def verdicts(self) -> list[AuditFault | None]:
        """Return for each head what is wrong, or None."""
        return [self._verdict(index, head) for index, head in enumerate(self.heads)]

    def _verdict(self, index: int, head: AuditHead) -> AuditFault | None:
        if not hmac.compare_digest(self.key.with_mac(head).mac, head.mac):
            return AuditFault.HEAD_FORGED
        return None if index in self.reached and index not in self.differing else AuditFault.HEAD_DIFFERS
