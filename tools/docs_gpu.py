"""What stands on the GPU driver's pages: what every driver has, and the generated parts that it alone has."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import docs_driver
from docs_markdown import block, code, table
from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.deadline import Deadline
from dra_common.driver import Published
from dra_common.engine import Engine
from dra_common.holds import FileHolds
from dra_common.lifecycle import Lifecycle, State
from dra_common.locks import FileLocks
from dra_common.model import ClaimRef
from dra_common.parents import FileParents
from dra_common.records import FileRecords, claims_folder
from dra_common.simulate import SimulatedHost, Simulator, find_profile
from dra_common.testing.bench import Bell, FakeClaims
from gpu_driver.__main__ import DEFINITION
from gpu_driver.config import KIND as CLAIM
from gpu_driver.driver import NAME, GpuDriver
from gpu_driver.policy import GpuMatch, GpuPolicy, GpuRule, GpuSriovPolicy
from gpu_driver.products import PRODUCTS
from gpu_driver.simulation import SIMULATION, GpuDetails
from gpu_driver.vocabulary import ATTRIBUTES, CAPACITIES, COUNTERS, TAINTS

_UID = "6f1d2c0a-8b7e-4c55-9d21-3f0a4b5c6d7e"
_BOOT = "11111111-2222-4333-8444-555555555555"


GPU = docs_driver.Documented(
    name="gpu",
    definition=DEFINITION,
    claim=CLAIM,
    attributes=ATTRIBUTES,
    capacities=CAPACITIES,
    taints=TAINTS,
    example="two-gpus",
    tainted="unbound-and-vfio",
    details=GpuDetails,
)


# --------------------------------------------------------------------------- names


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


def families() -> str:
    """Return family -> models."""
    models: dict[str, list[str]] = {}
    for product in PRODUCTS.values():
        of_family = models.setdefault(product.family, [])
        if product.model not in of_family:
            of_family.append(product.model)
    rows = [(code(family), ", ".join(map(code, models[family]))) for family in models]
    return table(("`family`", "`model`"), rows)


def _published(profile: str, policy: GpuPolicy | None = None) -> Published:
    driver = GpuDriver()
    driver.configure(policy or GpuPolicy())
    return docs_driver.published(driver, SIMULATION, profile)


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
