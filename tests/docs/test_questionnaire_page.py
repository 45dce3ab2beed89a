"""Each answer of the security questionnaire has a test that exists, or says whose rule or part it is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "security-questionnaire.md").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| (?!answer|---)", line)]


def test_each_named_test_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 80
    for path, test in named:
        text = (ROOT / path).read_text()
        assert re.search(rf"^(    )?(async )?def {test or 'test_'}", text, re.MULTILINE), f"{path}::{test}"


def test_each_answer_has_evidence():
    assert len(ROWS) > 55
    for answer, evidence in ROWS:
        assert re.search(r"`tests/|^policy: |^yours", evidence), answer


def test_each_policy_is_a_file_of_this_repository():
    for target in re.findall(r"policy: (?:\[[^]]*\]\(([^)#]+)|`([^`]+)`)", PAGE):
        page, file = target
        assert (ROOT / "docs" / "reference" / page if page else ROOT / file).resolve().is_file(), target
