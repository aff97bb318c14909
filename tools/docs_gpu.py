"""The generated parts of docs/ that come from the GPU driver."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import admission
import docs_common
from docs_markdown import block, code, table
from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.deadline import Deadline
from dra_common.driver import Published
from dra_common.engine import Engine
from dra_common.holds import FileHolds
from dra_common.lifecycle import Lifecycle, State
from dra_common.locks import FileLocks
from dra_common.model import Attribute, ClaimRef, Device, Version
from dra_common.parents import FileParents
from dra_common.policy import schema
from dra_common.records import FileRecords, claims_folder
from dra_common.simulate import SimulatedHost, Simulator, find_profile, list_profiles
from dra_common.testing.bench import Bell, FakeClaims
from dra_common.vocabulary import Term
from gpu_driver.__main__ import DEFINITION
from gpu_driver.config import KIND as CLAIM
from gpu_driver.driver import NAME, GpuDriver
from gpu_driver.policy import KIND, GpuMatch, GpuPolicy, GpuRule, GpuSriovPolicy
from gpu_driver.products import PRODUCTS
from gpu_driver.simulation import SIMULATION, GpuDetails
from gpu_driver.vocabulary import ATTRIBUTES, CAPACITIES, COUNTERS, TAINTS

_UID = "6f1d2c0a-8b7e-4c55-9d21-3f0a4b5c6d7e"
_BOOT = "11111111-2222-4333-8444-555555555555"


def config_fields() -> str:
    """Return the fields of the configuration file."""
    return docs_common.config_fields(KIND)


def config_schema() -> str:
    """Return the JSON schema of the configuration file."""
    return f"{json.dumps(schema(KIND), indent=2)}\n"


def claim_fields() -> str:
    """Return the fields of what a claim may ask for."""
    return docs_common.opaque_fields(CLAIM)


def claim_schema() -> str:
    """Return the JSON schema of what a claim may ask for."""
    return f"{json.dumps(docs_common.opaque_schema(CLAIM), indent=2)}\n"


def claims_policy() -> str:
    """Return the chart's template of the policy for claims' configuration."""
    return admission.template(NAME, GpuDriver.config_kinds)


def commands() -> str:
    """Return a chapter for each command."""
    return docs_common.commands(DEFINITION)


# --------------------------------------------------------------------------- names


def attributes() -> str:
    """Return the attributes, with the values of a card in a simulated machine."""
    example = _devices("two-gpus")[-1]
    values = {name: _value(value) for name, value in example.attributes.items()}
    return _terms(ATTRIBUTES, values, "type", f"`{example.name}` of `two-gpus`")


def capacities() -> str:
    """Return the capacities, with the values of the same card."""
    example = _devices("two-gpus")[-1]
    values = {name: str(capacity.value) for name, capacity in example.capacity.items()}
    return _terms(CAPACITIES, values, "type", f"`{example.name}` of `two-gpus`")


def counters() -> str:
    """Return the counters, with those of a card that has virtual functions, and is divided for claims."""
    rule = GpuRule(match=GpuMatch(), sriov=GpuSriovPolicy(modes=(2,)))
    sets = [
        *_published("two-gpus", GpuPolicy(devices=(rule,))).counter_sets,
        *_published("battlemage-pro").counter_sets,
    ]
    values = {name: str(value) for each in sets for name, value in each.counters.items()}
    rows = [(code(term.name), term.meaning, term.absent, code(values[term.name])) for term in COUNTERS]
    return table(("name", "what there is, and who takes it", "absent when", "of an Arc Pro B60 or B70"), rows)


def taints() -> str:
    """Return the taints, each with a device of a simulated machine that has it."""
    found = {taint.key: device.name for device in _devices("unbound-and-vfio") for taint in device.taints}
    rows = [
        (
            code(term.key),
            ", ".join(code(each) for each in (term.effect, term.other) if each),
            term.value or "none",
            f"{term.meaning} Ends when {term.ends}.",
            code(found.get(term.key, "")),
        )
        for term in TAINTS
    ]
    return table(("key", "effect", "value", "meaning", "example in `unbound-and-vfio`"), rows)


def families() -> str:
    """Return family -> models."""
    models: dict[str, list[str]] = {}
    for product in PRODUCTS.values():
        of_family = models.setdefault(product.family, [])
        if product.model not in of_family:
            of_family.append(product.model)
    rows = [(code(family), ", ".join(map(code, models[family]))) for family in models]
    return table(("`family`", "`model`"), rows)


def _value(value: Attribute) -> str:
    return json.dumps(value.value if isinstance(value, Version) else value)


def _terms(terms: Iterable[Term], values: Mapping[str, str], kind: str, example: str) -> str:
    rows = [
        (code(term.name), term.kind, term.meaning, term.absent or "never", code(values.get(term.name, "")))
        for term in terms
    ]
    return table(("name", kind, "meaning", "absent when", example), rows)


def _devices(profile: str) -> tuple[Device, ...]:
    return _published(profile).devices


def _published(profile: str, policy: GpuPolicy | None = None) -> Published:
    driver = GpuDriver()
    driver.configure(policy or GpuPolicy())
    machine = find_profile(SIMULATION, profile)
    with (
        tempfile.TemporaryDirectory(prefix="dra") as folder,
        Simulator(SIMULATION, machine, Path(folder)),
    ):
        return driver.publish(driver.discover(SimulatedHost(Path(folder))).hardware)


# --------------------------------------------------------------------------- simulated machines


def profiles() -> str:
    """Return the machines that the driver ships."""
    rows = [(code(name), description) for name, description in list_profiles(SIMULATION)]
    return table(("profile", "machine"), rows)


def details() -> str:
    """Return the fields of ``details.gpu``."""
    return docs_common.fields(GpuDetails)


# --------------------------------------------------------------------------- files on disk


def state_files() -> str:
    """Prepare a claim on a simulated machine and return the files that this leaves, the claim's own in full."""
    with tempfile.TemporaryDirectory(prefix="dra") as folder:
        root = Path(folder)
        with Simulator(SIMULATION, find_profile(SIMULATION, "two-gpus"), root / "machine"):
            _prepare(root)
        return _listing(root)


def _prepare(root: Path) -> None:
    driver, data = GpuDriver(), root / "var/lib/kubelet/plugins" / NAME
    mounted = data / "dra-device-metadata"
    specs = SpecDir(root / "var/run/cdi", driver.cdi_vendor, driver.cdi_classes, mounted)
    shared = SharedSpecDir(
        root / "var/run/cdi", root / "etc/cdi", data / "adopted", driver.cdi_vendor, driver.cdi_classes
    )
    state = State(
        FileRecords(claims_folder(data)),
        FileHolds(data / "held"),
        specs,
        shared,
        FileParents(data / "hardware"),
    )
    host = SimulatedHost(root / "machine", dev_root="/dev")
    lifecycle = Lifecycle(driver, host, state, Bell(), _BOOT)
    locks = FileLocks(claims_folder(data), data / "hardware")
    claims = FakeClaims({("default", "train"): _claim()})
    engine = Engine(driver, lifecycle, claims, locks, "node-1")
    engine.prepare(ClaimRef("default", "train", _UID), Deadline.after(60))


def _claim() -> dict[str, Any]:
    result = {"request": "gpu", "driver": NAME, "pool": "node-1", "device": "0000-9a-00-0-0xe211"}
    return {"metadata": {"uid": _UID}, "status": {"allocation": {"devices": {"results": [result]}}}}


def _listing(root: Path) -> str:
    paths = sorted(
        path for path in (root / "var").rglob("*") if path.is_symlink() or path.is_file() or _empty(path)
    )
    lines = [f"/{path.relative_to(root)}{_shown(path)}" for path in paths]
    texts = [
        f"`/{path.relative_to(root)}`:\n\n{block(_text(path, root), 'json')}"
        for path in paths
        if path.suffix == ".json"
    ]
    return "\n\n".join([block("\n".join(lines)), *texts])


def _text(path: Path, root: Path) -> str:
    """Return a JSON file as people read it; what has several objects is written for them."""
    text = path.read_text().replace(f"{root}/", "/").strip()
    return text if text.count('"apiVersion"') > 1 else json.dumps(json.loads(text), indent=2)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _shown(path: Path) -> str:
    return f" -> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else ""
