"""The picture of the architecture shows the source as it is; a test fails if a change of the source would alter it."""

import re
import shutil

import pytest
from tests.architecture.implementing import read_implementations
from tests.architecture.imports import read_contents, read_imports
from tests.architecture.picture import PICTURE, draw
from tests.architecture.tree import SOURCE


def drawn(source, implementations=None):
    """Draw a source; its implementations of ports may be given, because finding them takes half of the time."""
    return draw(read_imports(source), implementations or read_implementations(source), read_contents(source))


@pytest.fixture(scope="module")
def implementations():
    return read_implementations(SOURCE)


@pytest.fixture(scope="module")
def imports():
    return read_imports()


@pytest.fixture(scope="module")
def picture(imports, implementations):
    return draw(imports, implementations, read_contents(SOURCE))


@pytest.fixture
def copy(tmp_path):
    """Give a copy of the source that may be changed."""
    return shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))


def append(path, line):
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")


def test_the_picture_is_that_of_the_source(picture):
    assert PICTURE.read_text(encoding="utf-8") == picture, "run `python -m tests.architecture.picture`"


def test_a_copy_is_drawn_alike(copy, picture):
    assert drawn(copy) == picture


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vault_adapters/runtime/periodic.py", "from vault_domain.rules.freshness import is_due"),
        ("vault_adapters/importing/lines.py", "from vault_domain import TokenVault"),
        ("vault_adapters/clients/access.py", "import vault_adapters.sync.vault"),
        ("vault_adapters/stores/queries.py", "from vault_adapters.stores import postgres"),
        ("vault_domain/entities/errors.py", "def f():\n    import vault_domain.facade.vault"),
        ("vault_domain/rules/another.py", ""),
    ],
)
def test_what_is_new_in_the_source_is_drawn(copy, picture, implementations, module, line):
    (copy / module).touch()
    append(copy / module, line)
    assert drawn(copy, implementations) != picture


def test_an_import_for_types_alone_is_not_drawn(copy, picture, implementations):
    append(
        copy / "vault_adapters" / "runtime" / "periodic.py",
        "if TYPE_CHECKING:\n    from vault_domain.rules.freshness import is_due",
    )
    assert drawn(copy, implementations) == picture


def test_a_folder_without_a_place_is_refused(copy):
    (copy / "vault_adapters" / "metrics").mkdir()
    (copy / "vault_adapters" / "metrics" / "__init__.py").touch()
    with pytest.raises(ValueError, match=r"vault_adapters\.metrics"):
        drawn(copy)


def test_a_port_that_nobody_implements_is_refused(copy):
    port = copy / "vault_domain" / "ports" / "event_sink.py"
    port.write_text(port.read_text().replace("def publish(self, events", "def publish(self, news"))
    with pytest.raises(ValueError, match="event_sink"):
        drawn(copy)


@pytest.mark.parametrize(
    ("port", "parts"),
    [
        ("accounts", {"vault_adapters.stores.postgres", "vault_adapters.stores.sqlite"}),
        ("master_key", {"vault_adapters.crypto"}),
        ("token_refresher", {"vault_adapters.providers"}),
        ("journal", {"vault_adapters.runtime"}),
    ],
)
def test_implementations_are_found_by_their_shape(port, parts, implementations):
    assert implementations[port] == parts


def test_names_are_followed_to_where_they_are_defined(imports):
    assert ("vault_adapters.cli", "vault_adapters.composition") in imports.arrows
    assert all(part.count(".") for part in imports.parts)


def test_each_arrow_is_drawn_once(imports):
    within = {(one, other) for one, other in imports.arrows if one.startswith("vault_domain")}
    heads = len(re.findall("<polygon", PICTURE.read_text(encoding="utf-8")))
    assert len(within) > 4
    assert heads == len(imports.arrows)
