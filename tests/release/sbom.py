"""Write the wheel's bill of materials, in CycloneDX 1.6 as JSON: its dependencies in the versions that CI tests.

`python -m tests.release.sbom [FILE]` writes it to FILE, by default to `dist`, under the name of the release. The same
source and lock give the same bytes.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from tests.release.lock import LOCK, PROJECT, ROOT, Pin, below, normalised, read_lock

_EXTRAS: Final = (
    *("postgres", "cli", "http", "httpx", "requests", "google", "aiohttp", "aws", "gcp", "azure", "pkcs11"),
    *("pygithub", "slack", "msal", "jwt", "connect", "starlette", "django", "web", "otel", "metrics"),
)
"""The extras that hosts install; the others serve the tests and the documentation."""


def bill_of_materials(project: Mapping[str, Any], version: str, pins: Iterable[Pin]) -> dict[str, Any]:
    """Return the bill of materials.

    Args:
        project: the table `project` of pyproject.toml.
        version: the release's version.
        pins: the lock. A dependency that only another platform or Python version needs is listed too, with its marker.
    """
    pins = list(pins)
    core = required_names(project["dependencies"])
    extras = required_names(each for extra in _EXTRAS for each in project["optional-dependencies"][extra])
    required, shipped = below(core, pins), below(core | extras, pins)
    used = [pin for pin in pins if pin.name in shipped]
    root = _reference(PROJECT, version)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _described(root, project, version)},
        "components": [_component(pin, pin.name in required) for pin in used],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(_reference(pin.name, pin.version) for pin in used if _is_direct(pin))},
            *({"ref": _reference(pin.name, pin.version), "dependsOn": _children(pin, used)} for pin in used),
        ],
    }
    return {**bill, "serialNumber": uuid5(NAMESPACE_URL, json.dumps(bill, sort_keys=True)).urn}


def required_names(requirements: Iterable[str]) -> set[str]:
    """Return the normalised names in a list of requirements, without the project itself."""
    found = (re.match(r"[A-Za-z0-9._-]+", each) for each in requirements)
    return {normalised(name[0]) for name in found if name is not None} - {PROJECT}


def _reference(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def _described(root: str, project: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": root,
        "name": PROJECT,
        "version": version,
        "description": project["description"],
        "licenses": [{"license": {"id": project["license"]}}],
        "purl": root,
    }


def _component(pin: Pin, is_required: bool) -> dict[str, Any]:
    reference = _reference(pin.name, pin.version)
    marker = [{"name": "python:marker", "value": pin.marker}] if pin.marker else []
    return {
        "type": "library",
        "bom-ref": reference,
        "name": pin.name,
        "version": pin.version,
        "scope": "required" if is_required else "optional",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
        "purl": reference,
        **({"properties": marker} if marker else {}),
    }


def _is_direct(pin: Pin) -> bool:
    return PROJECT in pin.parents


def _children(parent: Pin, used: Iterable[Pin]) -> list[str]:
    return sorted({_reference(pin.name, pin.version) for pin in used if parent.name in pin.parents})


def read_project() -> tuple[dict[str, Any], str]:
    """Return the table `project` of pyproject.toml, and the version that the source names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "src/vault_domain/__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError("src/vault_domain/__init__.py names no version")
    return project, found[1]


def main() -> None:
    """Write the bill of materials to its file."""
    project, version = read_project()
    bill = bill_of_materials(project, version, read_lock(LOCK.read_text()))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / f"token-vault-{version}.cdx.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill, indent=2) + "\n")
    print(f"{target.name}: {len(bill['components'])} components")


if __name__ == "__main__":
    main()
