"""The lock names everything that CI installs, with hashes, and contains no server and no path of a machine."""

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from tests.release.lock import LOCK, PROJECT, ROOT, LockError, Pin, below, differing, normalised, read_lock

TEXT = LOCK.read_text()
PINS = read_lock(TEXT)
HASH = "    --hash=sha256:" + "0" * 64


def demanded():
    """Return all requirements that CI installs, those of the build included."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = described["project"]["optional-dependencies"]
    lists = [described["build-system"]["requires"], described["project"]["dependencies"]]
    lists += [requirements for name, requirements in extras.items() if name != "bench"]
    found = [Requirement(each) for requirements in lists for each in requirements]
    return [requirement for requirement in found if normalised(requirement.name) != PROJECT]


@pytest.mark.parametrize("requirement", demanded(), ids=str)
def test_the_lock_fits_what_the_project_demands(requirement):
    versions = [pin.version for pin in PINS if pin.name == normalised(requirement.name)]
    assert versions
    assert all(requirement.specifier.contains(version) for version in versions)


def test_the_lock_holds_nothing_that_nobody_demands():
    roots = {normalised(requirement.name) for requirement in demanded()} | {"editables"}
    assert {pin.name for pin in PINS} == below(roots, PINS)


def test_releases_that_differ_from_the_lock_are_named():
    pins = [Pin("attrs", "1", ""), Pin("attrs", "2", "python_version < '3.12'"), Pin("anyio", "4", "")]
    installed = [("attrs", "2"), ("AnyIO", "5"), ("new_one", "1"), ("token-vault", "9")]
    assert differing(pins, installed) == ["anyio 5, locked 4", "new-one 1, locked nowhere"]


def test_each_pin_has_hashes():
    assert len(PINS) > 100
    assert [pin.name for pin in PINS if not pin.hashes] == []


def test_the_lock_names_no_host_and_no_machine():
    assert re.findall(r"https?:|--index|--find-links|--extra|--trusted|@|/tmp|/home|\.in\b", TEXT) == []


@pytest.mark.parametrize(
    "line", ["attrs>=23.2", "attrs", "--index-url x", "-e .", "attrs @ file:x", "    --hash=md5:00", "attrs==1"]
)
def test_a_line_that_pins_nothing_is_an_error(line):
    with pytest.raises(LockError, match="line 4"):
        read_lock(f"# heading\nattrs==1.0 \\\n{HASH}\n{line}\n")


def test_a_lock_is_read():
    parents = "    # via\n    #   Token_Vault (pyproject.toml)\n    #   b\n"
    text = f"a==1 ; sys_platform == 'win32' \\\n{HASH} \\\n{HASH}\n{parents}"
    pin = Pin("a", "1", "sys_platform == 'win32'", ["0" * 64] * 2, {"token-vault", "b"})
    assert read_lock(text) == [pin]
    assert below({"b"}, [pin]) == {"a", "b"}
    assert below({"c"}, [pin]) == {"c"}


def test_ci_installs_only_what_the_lock_names():
    script = (ROOT / ".ci" / "run").read_text()
    download = script.index("pip download -q --require-hashes --only-binary :all:")
    assert download < script.index("export PIP_NO_INDEX=1 PIP_FIND_LINKS=")
    steps = re.findall(r'^step "[^"]+" (\w+)', script, re.MULTILINE)
    assert steps.index("download_the_lock") < steps.index("from_the_readme")
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"]).returncode == 0
