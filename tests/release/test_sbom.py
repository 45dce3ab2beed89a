"""The bill of materials names what a host installs with the wheel, with hashes."""

import json

from tests.release.lock import LOCK, Pin, read_lock
from tests.release.sbom import bill_of_materials, read_project, required_names

PROJECT, VERSION = read_project()
PINS = read_lock(LOCK.read_text())
BILL = bill_of_materials(PROJECT, VERSION, PINS)
COMPONENTS = {each["name"]: each for each in BILL["components"]}


def test_it_is_one_of_this_release():
    assert (BILL["bomFormat"], BILL["specVersion"]) == ("CycloneDX", "1.6")
    assert BILL["metadata"]["component"]["purl"] == f"pkg:pypi/token-vault@{VERSION}"


def test_what_the_package_needs_is_required_and_what_an_extra_needs_is_optional():
    assert {COMPONENTS[name]["scope"] for name in required_names(PROJECT["dependencies"])} == {"required"}
    assert COMPONENTS["cffi"]["scope"] == "required"  # because cryptography needs it
    assert {COMPONENTS[name]["scope"] for name in ("psycopg", "psycopg-pool", "httpx2", "boto3")} == {"optional"}


def test_every_extra_for_hosts_is_in_it():
    served = set()
    for name, requirements in PROJECT["optional-dependencies"].items():
        if name not in {"all", "docs", "test", "bench", "dev"}:
            served |= required_names(requirements)
    assert served <= COMPONENTS.keys()


def test_what_only_the_tests_need_is_not_in_it():
    assert not {"pytest", "hypothesis", "moto", "sphinx", "hatchling", "mypy"} & COMPONENTS.keys()


def test_each_component_has_its_version_and_hashes_from_the_lock():
    locked = {pin.name: pin for pin in PINS}
    for name, component in COMPONENTS.items():
        assert component["purl"] == f"pkg:pypi/{name}@{locked[name].version}"
        assert [each["content"] for each in component["hashes"]] == locked[name].hashes != []


def test_each_reference_leads_somewhere():
    known = {each["bom-ref"] for each in (*BILL["components"], BILL["metadata"]["component"])}
    assert len(known) == len(BILL["components"]) + 1
    assert {each["ref"] for each in BILL["dependencies"]} == known
    assert {name for each in BILL["dependencies"] for name in each["dependsOn"]} <= known


def test_the_same_lock_gives_the_same_bytes():
    assert json.dumps(bill_of_materials(PROJECT, VERSION, PINS)) == json.dumps(BILL)
    other = bill_of_materials(PROJECT, VERSION, [*PINS, Pin("extra", "1", "", ["0" * 64], {"attrs"})])
    assert other["serialNumber"] != BILL["serialNumber"]
