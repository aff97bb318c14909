"""Each driver's pages are true: examples fit the machines and the API, commands exist, fields are on their page."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from dra_common.cli import create
from dra_common.cluster import connect
from dra_common.driver import Driver
from dra_common.model import Snapshot
from dra_common.policy import effective, file_model
from dra_common.policy_file import read_policy
from dra_common.publisher import Owner, plan_sync
from dra_common.slices import ServerFeatures, to_slices
from dra_common.testing.allocator import Allocation, Allocator
from dra_common.testing.apiserver import FakeApiServer
from pages import DOCS, PAGES, Block, blocks
from pydantic import BaseModel
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import docs_driver  # noqa: E402 - scripts beside the others in tools/
import generate_docs  # noqa: E402
from docs_driver import Documented  # noqa: E402

DRIVERS = generate_docs.DRIVERS
CONFIGURED = {"shared": ("two-gpus", "sharing:"), "divided": ("two-gpus", "sriov:")}
"""Machines with the configuration that stands in a block of the guide: name -> profile, what only that block has."""


def guide(of: Documented) -> Path:
    return DOCS / f"user/{of.package}.md"


@cache
def objects(name: str) -> Mapping[Block, Mapping[str, Any]]:
    page = DOCS / f"user/{name}-driver.md"
    return {block: yaml.safe_load(block.text) for block in blocks(page, "yaml")}


def of_kind(of: Documented, kind: str) -> list[Mapping[str, Any]]:
    return [made for made in objects(of.name).values() if made["kind"] == kind]


def as_claim(made: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**made, "spec": made["spec"]["spec"]} if made["kind"] == "ResourceClaimTemplate" else made


def of_drivers(function: Any) -> Any:
    return pytest.mark.parametrize("of", DRIVERS, ids=lambda of: of.name)(function)


# --------------------------------------------------------------------------- the commands


def commands(name: str, command: object) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    if isinstance(command, TyperGroup):
        if command.invoke_without_command:
            yield name, command
        for part, below in command.commands.items():
            yield from commands(f"{name} {part}".strip(), below)
    elif isinstance(command, TyperCommand):
        yield name, command


KNOWN = {of.package: dict(commands("", get_command(create(of.definition)))) for of in DRIVERS}
QUOTED = [
    (of, f"{block.page}: {line}", line)
    for of in DRIVERS
    for page in PAGES
    for block in blocks(page, "", "sh")
    for line in block.text.splitlines()
    if re.match(rf"\s*(?:\.venv/bin/hatch run )?{of.package} ", line)
]


@of_drivers
def test_every_command_has_its_chapter(of: Documented) -> None:
    page = (DOCS / f"user/{of.package}-cli.md").read_text()
    assert re.findall(rf"^### {of.package} (.+)$", page, flags=re.MULTILINE) == list(KNOWN[of.package])


@of_drivers
def test_there_are_commands_to_look_at(of: Documented) -> None:
    assert len([line for other, _, line in QUOTED if other is of]) > 5


@pytest.mark.parametrize(("of", "where", "line"), QUOTED, ids=[where for _, where, _ in QUOTED])
def test_quoted_commands_exist(of: Documented, where: str, line: str) -> None:
    known = KNOWN[of.package]
    words = shlex.split(line.partition(f"{of.package} ")[2], comments=True)
    longest_first = sorted(known, key=len, reverse=True)
    name = next((name for name in longest_first if words[: len(name.split())] == name.split()), None)
    assert name is not None, where
    options = {option for param in known[name].params for option in param.opts}
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used <= options | {"--help"}, where


# --------------------------------------------------------------------------- configuration


@of_drivers
def test_the_example_of_the_configuration_is_good(of: Documented, tmp_path: Path) -> None:
    [example] = blocks(DOCS / f"user/{of.package}-config.md", "yaml")
    file = tmp_path / "config.yaml"
    file.write_text(example.text)
    assert effective(of.policy, read_policy(file, of.policy), "bench-7", {}) != of.policy.model()
    schema = json.loads((DOCS / f"user/{of.package}-config.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(example.text), schema)


@of_drivers
def test_the_schema_of_claims_takes_the_guides_examples_and_refuses_what_the_driver_refuses(
    of: Documented,
) -> None:
    schema = json.loads((DOCS / f"user/{of.name}-claim-config.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    given = [text["parameters"] for text in opaque(list(objects(of.name).values()))]
    assert given
    for parameters in given:
        validator.validate(parameters)
        fields = {name: value for name, value in parameters.items() if name not in ("apiVersion", "kind")}
        wrong: list[Mapping[str, Any]] = [{"nonsense": 1}, {"kind": "Other"}]
        wrong += [{name: f"{value}?"} for name, value in fields.items()]
        for each in wrong:
            assert not validator.is_valid({**parameters, **each})
        assert not validator.is_valid(fields)


def opaque(part: object) -> Iterator[dict[str, Any]]:
    """Every opaque configuration inside of an object."""
    if isinstance(part, dict):
        if "opaque" in part:
            yield part["opaque"]
        for each in part.values():
            yield from opaque(each)
    elif isinstance(part, list):
        for each in part:
            yield from opaque(each)


@of_drivers
def test_every_field_of_configuration_stands_on_its_page_and_in_its_schema(of: Documented) -> None:
    """Of the file as of claims, whatever is inside of what."""
    for model, name in (
        (file_model(of.policy), f"{of.name}-driver-config"),
        (of.claim.model, f"{of.name}-claim-config"),
    ):
        schema = (DOCS / f"user/{name}.schema.json").read_text()
        pages = [page.read_text() for page in PAGES]
        (page,) = (text for text in pages if f"<!-- generated: {name.replace('-driver', '')} -->" in text)
        wanted = set(fields_of(model))
        assert len(wanted) > 3
        assert [field for field in wanted if f"| `{field}` |" not in page] == []
        assert [field for field in wanted if f'"{field}": {{' not in schema] == []


def fields_of(model: type[BaseModel]) -> Iterator[str]:
    """Names of all fields of a model and of those inside of it, as a user writes them."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in models_in(field.annotation):
            yield from fields_of(inner)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


# --------------------------------------------------------------------------- examples


def published(of: Documented, machine: str, folder: Path) -> list[Mapping[str, Any]]:
    """The ResourceSlices of a simulated machine, or of one with a configuration of the guide."""
    driver: Driver[Any] = type(of.definition.driver)()
    profile, words = CONFIGURED.get(machine, (machine, ""))
    if words:
        (rules,) = (block.text for block in blocks(guide(of), "text") if words in block.text)
        file = folder / "config.yaml"
        file.write_text(f"apiVersion: {of.policy.api_version}\nkind: {of.policy.kind}\n{rules}")
        driver.configure(effective(of.policy, read_policy(file, of.policy), "node-1", {}))
    found = docs_driver.published(driver, of.definition.simulation(), profile)
    features = ServerFeatures.of((1, 36))
    made = to_slices(Snapshot(1, found.devices, found.counter_sets), driver=driver.name, features=features)
    creates = plan_sync(made.contents, (), Owner(driver.name, "node-1", "0" * 8)).creates
    return [
        {**item, "metadata": {**item["metadata"], "name": f"{number:05x}"}}
        for number, item in enumerate(creates)
    ]


EXPECTED = [
    (of, block, *comment.split(": "))
    for of in DRIVERS
    for block in objects(of.name)
    for comment in block.comments
    if ": " in comment
]


@of_drivers
def test_every_claim_says_what_it_gets_where(of: Documented) -> None:
    claims = {block for block, made in objects(of.name).items() if made["kind"].startswith("ResourceClaim")}
    assert claims == {block for other, block, *_ in EXPECTED if other is of}
    assert len(claims) > 3


@pytest.mark.parametrize(
    ("of", "block", "machine", "devices"),
    EXPECTED,
    ids=[f"{block}-{machine}" for _, block, machine, _ in EXPECTED],
)
def test_claims_get_what_the_page_says(
    of: Documented, block: Block, machine: str, devices: str, tmp_path: Path
) -> None:
    slices = published(of, machine, tmp_path)
    everything = [device["name"] for item in slices for device in item["spec"].get("devices", ())]
    outcome = Allocator(slices, of_kind(of, "DeviceClass")).allocate(as_claim(objects(of.name)[block]))
    assert isinstance(outcome, Allocation), outcome
    assert {found.device for found in outcome.devices} == set(
        everything if devices == "all" else devices.split()
    )


@pytest.mark.parametrize(
    "made",
    [made for of in DRIVERS for made in objects(of.name).values()],
    ids=lambda made: f"{made['kind']} {made['metadata']['name']}",
)
def test_an_api_server_takes_the_examples(made: Mapping[str, Any], tmp_path: Path) -> None:
    if made["apiVersion"] != "resource.k8s.io/v1":
        assert made["kind"] in ("Pod", "ClusterRole")
        return
    claim = as_claim(made)
    namespace = claim["metadata"].get("namespace", "default")
    folder = "deviceclasses" if made["kind"] == "DeviceClass" else f"namespaces/{namespace}/resourceclaims"
    kind = "DeviceClass" if made["kind"] == "DeviceClass" else "ResourceClaim"
    with FakeApiServer() as server:
        client = connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
        stored = client.create(f"/apis/resource.k8s.io/v1/{folder}", {**claim, "kind": kind})
        client.close()
    assert stored["spec"] == claim["spec"], "fields that the server does not know are dropped"


@of_drivers
def test_the_pod_uses_a_template_of_the_page(of: Documented) -> None:
    (pod,) = of_kind(of, "Pod")
    (given,) = pod["spec"]["resourceClaims"]
    assert given["resourceClaimTemplateName"] in {
        made["metadata"]["name"] for made in of_kind(of, "ResourceClaimTemplate")
    }
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["claims"] == [{"name": given["name"]}]


@of_drivers
def test_the_guides_class_is_the_charts(of: Documented) -> None:
    own = (ROOT / f"deployments/{of.package}/chart/templates/_own.tpl").read_text()
    name = of.definition.driver.name
    selector = own.partition(f'define "{name}.selector" -}}}}\n')[2].partition("\n")[0]
    (found,) = (made for made in of_kind(of, "DeviceClass") if made["metadata"]["name"] == name)
    assert [each["cel"]["expression"] for each in found["spec"]["selectors"]] == [selector]
