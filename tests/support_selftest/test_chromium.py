"""If Chromium or axe-core is missing, the tests that need it are skipped on a developer's machine, and fail in CI."""

import pytest
from tests.support import chromium

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("value", "outcome"), [("true", pytest.fail.Exception), (None, pytest.skip.Exception)])
def test_what_is_missing_fails_in_ci_only(monkeypatch, tmp_path, value, outcome):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("AXE_CORE", raising=False)
    if value:
        monkeypatch.setenv("CI", value)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(outcome, match="apt-get install chromium"), chromium.start_chromium():
        pass
    with pytest.raises(outcome, match="npm is not installed"):
        chromium.find_axe(tmp_path)


def test_another_axe_is_refused(monkeypatch, tmp_path):
    (tmp_path / "axe.min.js").write_text("nothing")
    monkeypatch.setenv("AXE_CORE", str(tmp_path / "axe.min.js"))
    with pytest.raises(AssertionError, match="axe-core must be"):
        chromium.find_axe(tmp_path)
