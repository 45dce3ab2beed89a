"""A release is built from its source archive, the same bytes each time, and a statement says where it comes from."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest
from tests.architecture.tree import published_files
from tests.release.lock import LOCK, ROOT, read_lock
from tests.release.provenance import PROVENANCE, STATEMENT, ProvenanceError, differing, main, read_files, statement
from tests.release.sbom import read_project
from tests.release.wheel import problems, source_files

pytestmark = pytest.mark.releases

PROJECT, VERSION = read_project()
PINS = read_lock(LOCK.read_text())
TESTS_OF_THE_ARCHIVE = (
    *("tests/domain/test_names.py", "tests/docs/test_architecture_page.py", "tests/docs/test_readme.py"),
    *("tests/architecture/test_version.py", "tests/release/test_lock.py", "tests/release/test_wheel_contents.py"),
)
CHOSEN = ("-m", "not soak and not simulation", *TESTS_OF_THE_ARCHIVE)
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
FILES = {"token_vault-1.tar.gz": b"archive", "token_vault-1-py3-none-any.whl": b"wheel"}


def stated(files=FILES):
    return statement(files, "1", "0" * 40, PINS, b"lock", NOW)


@pytest.fixture(scope="module")
def hatchling(tmp_path_factory):
    """Install the build's backend in a folder, and give a function that builds a tree with it."""
    folder = tmp_path_factory.mktemp("hatchling")
    version = next(pin.version for pin in PINS if pin.name == "hatchling")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), f"hatchling=={version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    def build(tree, target, output):
        environ = os.environ | {"PYTHONPATH": str(folder), "SOURCE_DATE_EPOCH": "1893456000"}
        command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(output)]
        done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (built,) = output.iterdir()
        return built

    return build


@pytest.fixture(scope="module")
def archive(hatchling, tmp_path_factory):
    return hatchling(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def test_the_same_source_gives_the_same_archive(archive, hatchling, tmp_path):
    assert hatchling(ROOT, "sdist", tmp_path).read_bytes() == archive.read_bytes()


def test_the_archive_holds_source_tests_and_documents_and_nothing_else(archive):
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    held = {name.partition("/")[0] for name in names}
    assert held <= {
        *("src", "tests", "docs", "requirements", "README.md", "CHANGELOG.md", "LICENSE", "CONTRIBUTING.md"),
        *("SECURITY.md", "noxfile.py", "pyproject.toml", "PKG-INFO", ".importlinter", ".gitignore", ".ci"),
        *(".env.example", ".gitattributes"),
    }
    published = {path.relative_to(ROOT).as_posix() for path in published_files()}
    assert published - names == set()
    assert [name for name in names if name.endswith((".pyc", ".db", ".whl"))] == []


def test_the_archive_builds_the_wheel_of_this_source(unpacked, hatchling, tmp_path):
    ours, theirs = (hatchling(tree, "wheel", tmp_path / tree.name) for tree in (ROOT, unpacked))
    assert ours.read_bytes() == theirs.read_bytes()
    with zipfile.ZipFile(theirs) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist()}
    assert list(problems(held, source_files())) == []
    described = next(content for name, content in held.items() if name.endswith("/METADATA")).decode()
    assert f"\nVersion: {VERSION}\n" in described
    assert "\nDescription-Content-Type: text/markdown\n" in described


def test_the_archive_passes_its_own_tests(unpacked):
    """Those of each kind that take seconds; `nox -s release` runs all."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *CHOSEN]
    environ = os.environ | {"PYTHONPATH": str(unpacked / "src")}
    done = subprocess.run(command, cwd=unpacked, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_statement_names_files_commit_and_backend():
    found = stated()
    assert (found["_type"], found["predicateType"]) == (STATEMENT, PROVENANCE)
    assert [each["name"] for each in found["subject"]] == sorted(FILES)
    source, _, backend = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": "0" * 40}
    assert backend["uri"].startswith("pkg:pypi/hatchling@")
    assert differing(found, FILES) == []


@pytest.mark.parametrize(
    "files", [{**FILES, "token_vault-1.tar.gz": b"archivE"}, {"token_vault-1-py3-none-any.whl": b"wheel"}]
)
def test_a_changed_or_missing_file_is_noticed(files, tmp_path, capsys):
    assert differing(stated(), files) == ["token_vault-1.tar.gz"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "statement").write_text(json.dumps(stated()))
    assert main(["--verify", str(tmp_path / "statement"), str(tmp_path)]) == 1
    assert capsys.readouterr().out == "token_vault-1.tar.gz is missing, or is another file\n"


@pytest.mark.parametrize("found", [{}, {**stated(), "_type": "other"}, {**stated(), "subject": []}])
def test_what_states_nothing_is_refused(found):
    with pytest.raises(ProvenanceError):
        differing(found, FILES)


def test_only_the_files_of_a_release_are_stated(tmp_path):
    for name in ("a.whl", "a.tar.gz", "a.cdx.json", "a.intoto.json", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert set(read_files(tmp_path)) == {"a.whl", "a.tar.gz", "a.cdx.json"}


def test_the_changelog_has_the_release_or_what_comes_next():
    heads = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert heads[0] == "## [Unreleased]" or heads[0].startswith(f"## [{VERSION}] - ")
