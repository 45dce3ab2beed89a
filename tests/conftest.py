"""Fixtures and hooks of the whole suite. The nox session `domain`, which installs few packages, does not load them."""

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.support.scrypt import make_cheap, make_real

_IN_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30
_MANY_MODULES = 100
_passed_over = {"path": None, "modules": 0}

# Images of containers often set this variable. With it, each interpreter that a test starts would compile the source
# again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """With `-n`, let each worker run neighbouring tests, so that a fixture of a module or session is seldom made twice.

    A worker that has run out of tests takes half of another worker's remaining tests.
    """
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Let `-n auto` start three workers for two processors, because many tests wait for a time or for a server."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors + processors // 2


def pytest_configure():
    """Put the tests' folders into memory if enough is free, because databases on a disk wait for the disk.

    Let TLS contexts read no authority of the machine; see `tests.support.public_authorities`. Make key derivation
    cheap; see `tests.support.scrypt`.
    """
    from tests.support.public_authorities import pass_over

    pass_over()
    make_cheap()
    if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))


def pytest_collection(session):
    """Let anyio's plugin run each async test; its oldest release that is allowed has no setting for this."""
    session.add_marker("anyio")


def pytest_collection_finish():
    """Let the garbage collector pass over what the collection of the tests has left; see `_pass_over_what_stays`."""
    _pass_over_what_stays()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let the garbage collector pass over what the tests of earlier files have imported, if that was much."""
    if item.path != _passed_over["path"]:
        _passed_over["path"] = item.path
        if len(sys.modules) >= _passed_over["modules"] + _MANY_MODULES:
            _pass_over_what_stays()


def _pass_over_what_stays():
    """Collect the garbage, and let later collections pass over everything else.

    The collection of the tests leaves four hundred thousand objects, which stay to the end. So do the objects of each
    library that is imported later. Each full garbage collection visited all these objects, which took more than half of
    the processor time of the tests.
    """
    gc.collect()
    gc.freeze()
    _passed_over["modules"] = len(sys.modules)


@pytest.fixture(autouse=True)
def _derivation(request):
    """Derive keys as in production in a test with the marker `real_scrypt`."""
    if request.node.get_closest_marker("real_scrypt") is None:
        yield
        return
    make_real()
    yield
    make_cheap()


@pytest.fixture(scope="session")
def anyio_backend():
    """Run async tests on asyncio only: the vault uses no other event loop."""
    return "asyncio"


@pytest.fixture
def store_kind():
    """Name the kind of store that a test runs over, for fixtures; the marker `both_stores` overrides it."""
    return "sqlite"


@pytest.fixture(scope="session")
def postgres():
    """Give a real PostgreSQL, started when the first test asks for it."""
    from tests.support.postgres import start_postgres

    with start_postgres() as server:
        yield server
