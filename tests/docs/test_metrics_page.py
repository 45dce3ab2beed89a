"""The page about metrics lists what the code has, and the files of the how-to guide use only what exists."""

import asyncio
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from attrs import fields

from vault_adapters import (
    Account,
    ConnectionState,
    StorageError,
    TokenHealth,
    TokenSet,
    VaultConfig,
    open_sync_vault,
    open_vault,
)
from vault_adapters.cli.application import build
from vault_adapters.cli.commands.working import as_address
from vault_adapters.telemetry.prometheus import prometheus_metrics
from vault_adapters.telemetry.table import METRICS, PUSHED, SPANS, Kind
from vault_adapters.testing import ManualClock, ScriptedRefresher, memory_vault
from vault_domain.services import observing

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
FILES = ROOT / "docs" / "how-to" / "monitoring"
COMPOSE = yaml.safe_load((FILES / "compose.yaml").read_text())
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())


@pytest.fixture
def anyio_backend():
    return "asyncio"


def at_prometheus(metric):
    """Return the name of a metric in the format of Prometheus."""
    seconds = "_seconds" if metric.unit == "s" else ""
    return metric.name.replace(".", "_") + seconds + ("_total" if metric.kind is Kind.COUNTER else "")


NAMES = {at_prometheus(metric): metric for metric in METRICS}


def series(metric):
    name = at_prometheus(metric)
    return {name + end for end in ("_bucket", "_sum", "_count")} if metric.kind is Kind.HISTOGRAM else {name}


SERIES = {name: metric for metric in METRICS for name in series(metric)}


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_table_is_that_of_the_code():
    rows = [line for line in section("Metrics").splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{metric.name}` | `{at_prometheus(metric)}` | {metric.kind.value} | `{metric.unit}` |"
        f" {', '.join(f'`{each}`' for each in metric.attributes)} | {metric.description} |"
        for metric in METRICS
    ]


def test_attributes_outcomes_and_spans_are_those_of_the_code():
    attributes = set(re.findall(r"^\| `([\w.]+)`", section("Attributes"), re.MULTILINE))
    assert attributes == {each for metric in METRICS for each in metric.attributes}
    for kind in (ConnectionState, TokenHealth):
        assert all(f"`{each.value}`" in section("Attributes") for each in kind)
    rows = re.findall(r"^\| (`[^|]+) \|", section("Outcomes"), re.MULTILINE)
    outcomes = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    ended = set()
    for path in (ROOT / "src" / "vault_domain").rglob("*.py"):
        for call in re.findall(r"step\.ended\(([^*].*)\)$", path.read_text(), re.MULTILINE):
            ended |= set(re.findall(r'"(\w+)"', call))
    named = {observing.DONE, observing.CANCELLED, observing.ERROR, observing.UNKNOWN, *observing.OUTCOMES.values()}
    assert outcomes == named | ended - {"no_journal"} | {"refreshed", "held", "nothing_sent"}
    assert re.findall(r"^\| `(token_vault\.\w+)`", section("Spans"), re.MULTILINE) == list(SPANS)


async def test_the_names_are_those_that_prometheus_gets():
    clock, refresher = ManualClock(), ScriptedRefresher(TokenSet("a", "r", expires_in=60))
    async with memory_vault(refreshers={"acme": refresher}, clock=clock) as vault:
        with prometheus_metrics(vault) as read:
            await vault.store_token_set(Account("t1", "acme"), TokenSet("a", "r", expires_in=60))
            clock.advance(timedelta(seconds=60))
            await vault.ensure_access_token(Account("t1", "acme"))
            await vault.refresh_due()
            text = read().decode()
    found = set(re.findall(r"^(\w+)(?=[{ ])", text, re.MULTILINE))
    own = {name for name in found if name.startswith(("token_vault", "db_client"))}
    assert own - {name for name in own if name.endswith("_created")} <= set(SERIES)
    for metric in PUSHED[:4]:
        assert series(metric) <= found


def expressions():
    """Return the expressions of dashboard and alerts, each with where it stands."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    alerts = yaml.safe_load((FILES / "alerts.yml").read_text())
    for rule in alerts["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_each_metric_and_label_of_dashboard_and_alerts_exists(place, expression):
    used = set(re.findall(r"\b(?:token_vault|db_client)_\w+", expression))
    metrics = [SERIES[name] for name in used if name in SERIES]
    assert metrics, place
    labels = {each.replace(".", "_") for metric in metrics for each in metric.attributes}
    assert used - set(SERIES) <= labels, place
    for group in re.findall(r"by \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", group)) <= labels | {"le", "instance"}, place
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


async def test_a_sweep_that_fails_does_not_silence_the_alert_about_sweeps(tmp_path):
    expression = dict(expressions())["TokenVaultNoSweeps"]
    selectors = set(re.findall(r"\w+_count\{(\w+=\"\w+\")\}", expression))
    config = VaultConfig(
        f"sqlite:///{tmp_path}/vault.db", encryption_secret="a secret of these tests, long enough", scrypt_log2_n=14
    )
    async with open_vault(config, refreshers={"acme": ScriptedRefresher()}) as vault:
        with prometheus_metrics(vault) as read:
            with closing(sqlite3.connect(tmp_path / "vault.db")) as connection:
                connection.execute("ALTER TABLE token_vault_account RENAME TO aside")
                with pytest.raises(StorageError):
                    await vault.refresh_due()
                connection.execute("ALTER TABLE aside RENAME TO token_vault_account")
            sweeps = re.findall(r"^token_vault_sweep_duration_seconds_count\{.*", read().decode(), re.MULTILINE)
            assert sweeps
            assert not any(selector in line for line in sweeps for selector in selectors)
            await vault.refresh_due()
            assert all(selector in read().decode() for selector in selectors)
    assert len(selectors) == 1


def test_each_alert_has_a_severity_and_a_runbook():
    rules = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"][0]["rules"]
    runbooks = (ROOT / "docs" / "how-to" / "operate.md").read_text().split("\n## Alerts\n")[1]
    found = re.findall(r"^### (\w+)\n\n\*(\w+)\.\*", runbooks, re.MULTILINE)
    assert found == [(rule["alert"], rule["labels"]["severity"]) for rule in rules]
    assert {severity for _, severity in found} == {"critical", "warning"}
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"].endswith(f"/how-to/operate.html#{rule['alert'].lower()}")


def test_the_dashboard_shows_every_metric_and_uses_its_data_source():
    shown = {
        name for _, expression in expressions() for name in re.findall(r"\b(?:token_vault|db_client)_\w+", expression)
    }
    assert {at_prometheus(metric) for metric in METRICS if not series(metric) & shown} == set()
    [source] = yaml.safe_load((FILES / "grafana-datasource.yml").read_text())["datasources"]
    uids = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert uids == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)


def test_the_commands_of_the_compose_file_are_commands():
    app = build()
    ports = set()
    for name in ("init", "worker"):
        _, bound, _ = app.parse_args(COMPOSE["services"][name]["command"], exit_on_error=False, print_error=False)
        if "listen" in bound.arguments:
            ports.add(as_address(bound.arguments["listen"])[1])
    [job] = yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"]
    [finding] = job["dns_sd_configs"]
    assert ports == {finding["port"]}
    assert set(finding["names"]) <= set(COMPOSE["services"])
    [source] = yaml.safe_load((FILES / "grafana-datasource.yml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").partition(":")[0] in COMPOSE["services"]


def test_the_files_and_variables_of_the_compose_file_exist():
    for service in COMPOSE["services"].values():
        mounts = [volume.partition(":")[0] for volume in service.get("volumes", ())]
        for place in mounts:
            assert (FILES / place).is_file() if place.startswith("./") else place in COMPOSE["volumes"]
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]
    variables = set(COMPOSE["services"]["worker"]["environment"]) - {"GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"}
    of_config = {f"TOKEN_VAULT_{each.name.upper()}" for each in fields(VaultConfig)}
    assert variables <= of_config | {"DATABASE_URL", "ENCRYPTION_SECRET_FILE"}


def test_the_image_is_built_from_what_exists():
    instructions = [line.split(" ", 1) for line in (FILES / "Dockerfile").read_text().splitlines()]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions} <= known
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = dict(instructions)
    [extras] = re.findall(r"whl\)\[([\w,]+)\]", (FILES / "Dockerfile").read_text())
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert set(json.loads(text["ENTRYPOINT"])) <= set(project["scripts"])
    build().parse_args(json.loads(text["CMD"]), exit_on_error=False, print_error=False)
    assert (FILES / text["COPY"].split()[0]).is_file()
    probe = json.loads(text["HEALTHCHECK"].partition("CMD ")[2])
    assert probe[:2] == ["python", "-c"]
    compile(probe[2], "probe", "exec")
    folder = shlex.split(text["RUN"])[-1]
    assert folder in COMPOSE["services"]["worker"]["environment"].values()


def test_the_refreshers_of_the_image_load():
    script = "import refreshers; print(sorted(refreshers.refreshers))"
    variables = {**os.environ, "GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "secret"}
    done = subprocess.run([sys.executable, "-c", script], cwd=FILES, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "['google']\n")


async def test_the_code_of_the_guide_runs(tmp_path):
    guide = (ROOT / "docs" / "how-to" / "watch-with-opentelemetry.md").read_text()
    asynchronous, blocking = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    url, secret = f"sqlite:///{tmp_path}/v.db", "a secret of this test, long enough"
    config = VaultConfig(url, encryption_secret=secret, scrypt_log2_n=14)
    names = {"config": config, "refreshers": {}, "open_sync_vault": open_sync_vault}
    lines = asynchronous.splitlines()
    imports = [line for line in lines if line.startswith("from")]
    body = [line for line in lines if line not in imports]
    script = "\n".join([*imports, "async def run():", *(f"    {line}" for line in body)])
    exec(script, names)
    await names["run"]()
    exec(blocking, names)
    assert await asyncio.to_thread(names["vault"].get_account, Account("t1", "acme")) is None
    await asyncio.to_thread(names["vault"].close)
