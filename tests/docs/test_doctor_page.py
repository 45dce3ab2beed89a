"""The page about accounts at risk lists every finding, with its severity."""

import re
from pathlib import Path

from vault_domain.rules.advice import ADVICE

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "find-accounts-at-risk.md").read_text()


def test_every_finding_is_described_with_its_severity():
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert rows == {code.value: severity.value for code, (severity, *_) in ADVICE.items()}
