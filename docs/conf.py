"""Sphinx configuration; `nox -s docs` builds with warnings as errors."""

from importlib import metadata
from pkgutil import iter_modules

from vault_domain import ports

project = "Token Vault"
author = "The Token Vault authors"
project_copyright = "2026, The Token Vault authors"

try:
    release = metadata.version("token-vault")
except metadata.PackageNotFoundError:
    release = "unreleased"
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "decisions/template.md"]

nitpicky = False
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
# In docstrings, single backticks mark names in code.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"Token Vault {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]


def setup(app):
    """Leave the decisions out of the search, because a reader of the guides seldom looks for them; show all ports."""
    app.connect("source-read", _without_search)
    app.connect("source-read", _with_ports)


def _without_search(_app, docname, source):
    if docname.startswith("decisions/"):
        source[0] = f"---\nnosearch: true\n---\n{source[0]}"


def _with_ports(_app, docname, source):
    if docname == "reference/api/ports":
        names = sorted(each.name for each in iter_modules(ports.__path__))
        shown = "\n\n".join(_PORT.format(name=name) for name in names)
        source[0] = source[0].replace(".. ports\n", f"{shown}\n")


# Some are shown on the other pages too, under the name that hosts import.
_PORT = """.. rubric:: vault_domain.ports.{name}

.. automodule:: vault_domain.ports.{name}
   :members:
   :no-index:"""
