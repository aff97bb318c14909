"""What only the GPU driver's pages say is true; tests/test_driver_docs.py holds what every driver's pages say."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import jsonschema
import pytest
import yaml
from dra_common.cli import main
from dra_common.driver import Published, Wanted
from dra_common.errors import DeviceRefused
from dra_common.model import Allocated, Snapshot
from dra_common.policy import effective
from dra_common.policy_file import read_policy
from dra_common.publisher import Owner, plan_sync
from dra_common.simulate import SimulatedHost, Simulator, find_profile
from dra_common.slices import ServerFeatures, to_slices
from dra_common.testing.allocator import Allocator, Unsatisfiable
from driver_nodes import short_folder
from gpu_driver.__main__ import DEFINITION
from gpu_driver.config import GpuConfig
from gpu_driver.device import Gpu, Surroundings
from gpu_driver.driver import NAME, GpuDriver
from gpu_driver.policy import KIND, GpuMatch, GpuPolicy, GpuRule
from gpu_driver.products import product
from gpu_driver.sharing import Portion, Sharing
from gpu_driver.simulation import SIMULATION
from gpu_nodes import running
from gpu_trees import configured
from pages import DOCS, PAGES, ROOT, Block, blocks, fits, messages

DRIVER = GpuDriver()
GUIDE = DOCS / "user/gpu-driver.md"
OBJECTS: Mapping[Block, Mapping[str, Any]] = {
    block: yaml.safe_load(block.text) for block in blocks(GUIDE, "yaml")
}
SNIPPETS = [block for page in PAGES for block in blocks(page, "python") if "gpu_driver" in block.text]


@pytest.fixture
def root() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


# --------------------------------------------------------------------------- the configuration file


def test_the_example_of_the_configuration_is_good_and_does_what_its_comments_say(root: Path) -> None:
    [example] = blocks(DOCS / "user/gpu-driver-config.md", "yaml")
    file = root / "gpus.yaml"
    file.write_text(example.text)
    read = read_policy(file, KIND)

    def published(node: str, bdf: str, device_id: str) -> bool:
        policy = effective(KIND, read, node, {})
        assert isinstance(policy, GpuPolicy)
        return policy.of(Gpu(bdf, device_id, product(device_id))).publish

    card, graphics = ("0000:9a:00.0", "0xe211"), ("0000:00:02.0", "0x4680")
    assert published("other", *card)
    assert not published("other", *graphics)
    assert published("bench-7", *card)
    assert not published("lab-1", "0000:9b:00.0", "0xe211")
    schema = json.loads((DOCS / "user/gpu-driver-config.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(example.text), schema)


# --------------------------------------------------------------------------- generated parts


Generate = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    """The generator in this process; each part is made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        module = importlib.import_module("generate_docs")
        patch.setattr(module, "SECTIONS", {name: cache(make) for name, make in module.SECTIONS.items()})
        yield module


@pytest.fixture
def generate(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> Generate:
    """Run it; returns the exit code and what it says on stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        return tool.main(arguments), capsys.readouterr().err

    return run


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DOCS, tmp_path / "docs"))


def test_the_generated_parts_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools/generate_docs.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_stale_part_is_named_and_generating_mends_it(copy: Path, generate: Generate) -> None:
    page = copy / "user/gpu-attributes.md"
    before = page.read_text()
    assert "`Data Center Flex`" in before
    page.write_text(before.replace("`Data Center Flex`", "`Data Centre Flex`"))
    code, said = generate("--check", f"--docs={copy}")
    assert code == 1
    assert f"{page} is stale (gpu-families)" in said
    assert said.count(" is stale (") == 1
    assert generate(f"--docs={copy}") == (0, "")
    assert page.read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "<!-- end: gpu-taints -->\n",
            "",
            "gpu-attributes.md: part 'gpu-taints' must be opened and closed once",
        ),
        ("<!-- end: gpu-taints -->\n", "<!-- end: gpu-taunts -->\n", "there is no part 'gpu-taunts'"),
        ("", "", "part 'gpu-taints' belongs on one page, and is on none"),
    ],
)
def test_a_part_that_is_lost_or_misspelt_is_named(
    copy: Path, generate: Generate, old: str, new: str, complaint: str
) -> None:
    page = copy / "user/gpu-attributes.md"
    text = page.read_text()
    lost = re.sub(r"<!-- generated: gpu-taints -->.*<!-- end: gpu-taints -->\n", "", text, flags=re.DOTALL)
    page.write_text(text.replace(old, new) if old else lost)
    for arguments in ((), ("--check",)):
        code, said = generate(*arguments, f"--docs={copy}")
        assert code == 1
        assert complaint in said


# --------------------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["version"], 0),
        (["simulate", "--list"], 0),
        (["devices", "--simulated-root=/nonsense"], 2),
        (["devices", "--nonsense"], 2),
        (["cdi", "generate", "--cdi-root=/proc/nonsense"], 1),
    ],
)
def test_exit_codes_are_as_documented(arguments: list[str], code: int, root: Path, capfd: Any) -> None:
    with Simulator(SIMULATION, find_profile(SIMULATION, "two-gpus"), root):
        more = [f"--simulated-root={root}"] if arguments[0] == "cdi" else []
        assert main(DEFINITION, [*arguments, *more]) == code
    said = capfd.readouterr().err
    assert len(said.splitlines()) == (1 if code else 0), said


# --------------------------------------------------------------------------- examples


def published(profile: str) -> list[Mapping[str, Any]]:
    """The ResourceSlices of a simulated machine."""
    with short_folder() as folder, Simulator(SIMULATION, find_profile(SIMULATION, profile), folder):
        found: Published = DRIVER.publish(DRIVER.discover(SimulatedHost(folder)).hardware)
    made = to_slices(
        Snapshot(1, found.devices, found.counter_sets), driver=NAME, features=ServerFeatures.of((1, 36))
    )
    owner = Owner(NAME, "node-1", "0" * 8)
    named: list[Mapping[str, Any]] = []
    for number, item in enumerate(plan_sync(made.contents, (), owner).creates):
        named.append({**item, "metadata": {**item["metadata"], "name": f"{number:05x}"}})
    return named


def of_kind(kind: str) -> list[Mapping[str, Any]]:
    return [made for made in OBJECTS.values() if made["kind"] == kind]


def test_without_the_presence_check_one_device_ends_the_allocation_as_the_page_warns() -> None:
    (block,) = (block for block, made in OBJECTS.items() if made["metadata"]["name"] == "twenty-gib")
    text = re.sub(r'"memory" in device.capacity\["gpu.intel.com"\] &&\s*', "", block.text)
    assert text != block.text
    slices = published("unbound-and-vfio")
    for item in slices:
        # A scheduler stops at the first device that fits: only one without memory that comes before it is met.
        item["spec"].get("devices", []).sort(key=lambda device: "memory" in device.get("capacity", {}))
    outcome = Allocator(slices, of_kind("DeviceClass")).allocate(yaml.safe_load(text))
    assert isinstance(outcome, Unsatisfiable)
    assert "memory" in str(outcome)


def test_there_are_snippets_to_run() -> None:
    assert len(SNIPPETS) == 2


@pytest.mark.parametrize("block", SNIPPETS, ids=str)
def test_snippets_run(block: Block, root: Path) -> None:
    assert "assert" in block.text, "a snippet checks what it shows"
    exec(compile(block.text, str(block), "exec"), {"root": root})  # noqa: S102 - our own documentation


# --------------------------------------------------------------------------- rights


def test_the_driver_asks_the_api_server_for_nothing_but_what_the_role_grants() -> None:
    (role,) = of_kind("ClusterRole")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    with running("two-gpus") as node:
        ref = node.create_claim("one", {"devices": {"requests": [_request()]}})
        node.allocate(ref)
        node.prepare(ref)
        node.unprepare(ref)
        # A slice too many is deleted, a slice that was edited is put back.
        ours = node.slices()[0]
        node.api.put("ResourceSlice", {**ours, "spec": {**ours["spec"], "devices": []}})
        surplus = {**ours, "metadata": {"name": "surplus"}, "spec": {**ours["spec"], "devices": []}}
        node.api.create("ResourceSlice", surplus)
        node.wait(lambda: {verb for _, _, verb in asked(node)} >= {"update", "delete"}, "the repair")
        used = asked(node)
    assert used <= granted, used - granted
    assert granted <= used, "the role grants more than is used"


def asked(node: Any) -> set[tuple[str, str, str]]:
    found = set()
    for request in node.api.requests:
        match = re.fullmatch(
            r"/(?:api|apis/([^/]+))/[^/]+/(?:namespaces/[^/]+/)?([^/?]+)(?:/([^?]+))?", request.path
        )
        if match and request.path != "/version" and "kubelet" not in str(request):
            found.add((match[1] or "", match[2], _verb(request, named=bool(match[3]))))
    return found


def _verb(request: Any, *, named: bool) -> str:
    if request.method == "GET":
        return "watch" if request.is_watch else "get" if named else "list"
    return {"POST": "create", "PUT": "update", "DELETE": "delete"}[str(request.method)]


def _request() -> Mapping[str, Any]:
    return {"name": "gpu", "exactly": {"deviceClassName": NAME}}


# --------------------------------------------------------------------------- messages


Producer = Callable[[Path], str]


def refused(
    gpu: str,
    *,
    manage: bool = True,
    binding: Literal["drm", "vfio"] = "drm",
    reset: Literal["flr", "none"] = "none",
    share: str | None = None,
    **changes: Any,
) -> Producer:
    """What a claim for this GPU is told when these facts of it are different."""

    def produce(root: Path) -> str:
        with Simulator(SIMULATION, find_profile(SIMULATION, "unbound-and-vfio"), root):
            wanted = Wanted(
                Allocated("gpu", "node-1", gpu, share),
                {"GpuConfig": GpuConfig(binding=binding, reset=reset)},
            )
            found = DRIVER.discover(SimulatedHost(root), only=[gpu]).hardware
            hardware = DRIVER.examine([wanted], found, SimulatedHost(root))
        altered = {gpu: replace(hardware[gpu], **changes)}
        with pytest.raises(DeviceRefused) as caught:
            configured(manage_binding=manage).plan([wanted], altered, {})
        return str(caught.value)

    return produce


def too_small(root: Path) -> str:
    """What is said of a GPU that is to be shared in parts larger than it is."""
    with Simulator(SIMULATION, find_profile(SIMULATION, "two-gpus"), root):
        hardware = DRIVER.discover(SimulatedHost(root)).hardware
    wanted = Sharing(max_clients=2, memory=Portion(default=2**40))
    driver = configured(devices=(GpuRule(match=GpuMatch(), sharing=wanted),))
    return driver.publish(hardware).problems[0]


def same_name(root: Path) -> str:
    """What a claim is told whose two GPUs are to have one name."""
    with Simulator(SIMULATION, find_profile(SIMULATION, "two-gpus"), root):
        hardware = DRIVER.discover(SimulatedHost(root)).hardware
    config = {"GpuConfig": GpuConfig.model_validate({"renderNode": "renderD128"})}
    wanted = [Wanted(Allocated("gpu", "node-1", name), config) for name in hardware]
    with pytest.raises(DeviceRefused) as caught:
        DRIVER.plan(wanted, hardware, {})
    return str(caught.value)


def problem(part: str, damage: str = "") -> Producer:
    """What discovery says of the machine, after one of its files was overwritten."""

    def produce(root: Path) -> str:
        with Simulator(SIMULATION, find_profile(SIMULATION, "unbound-and-vfio"), root):
            if damage:
                file = (root / "sys/bus/pci/devices" / damage).resolve()
                file.chmod(0o644)
                file.write_text("nonsense\n")
            problems = DRIVER.discover(SimulatedHost(root)).problems
        return next(line for line in problems if part in line)

    return produce


_B60, _VFIO = "0000-20-00-0-0xe211", "0000-22-00-0-0x56c0"
PRODUCERS: Mapping[str, Producer] = {
    "device <device> cannot be prepared for <use>: it is bound to <driver>, which somebody has a reason for": refused(
        _VFIO, driver="pci-stub"
    ),
    "device <device> cannot be prepared for <use>: it is bound to <driver>, and a virtual machine that is not of a "
    "claim has it open": refused(_VFIO, in_use=True),
    "device <device> cannot be prepared for <use>: it is bound to <driver>": refused(_VFIO, manage=False),
    "device <device> cannot be prepared for <use>: no kernel driver is known for this product": refused(
        "0000-23-00-0-0xfffe"
    ),
    "device <device> cannot be prepared for <use>: the kernel driver <driver> is not loaded": refused(
        _VFIO, around=Surroundings()
    ),
    "device <device> cannot be prepared for VFIO: it is in no IOMMU group": refused(
        _B60, binding="vfio", iommu_group=""
    ),
    "device <device> cannot be prepared for VFIO: in its IOMMU group <group> are also <addresses>": refused(
        _B60, binding="vfio", around=Surroundings(neighbours=("0000:03:00.0",))
    ),
    "device <device> cannot be prepared for VFIO: it has <n> virtual functions, which would go with its kernel "
    "driver": refused(_B60, binding="vfio", around=Surroundings(drivers=frozenset({"vfio-pci"}), vfs=2)),
    "device <device> cannot be prepared for DRM: <driver> is bound to it, but made no DRM card": refused(
        "0000-25-00-0-0xe212"
    ),
    "device <device> cannot be prepared with a reset afterwards: it has no function level reset": refused(
        _B60, reset="flr", around=Surroundings()
    ),
    "device <device> cannot be prepared for VFIO: other claims can share it, and a machine takes all of it": refused(
        _B60, binding="vfio", share="0a"
    ),
    "device <device> cannot be prepared for DRM: a reset would take it from others that share it": refused(
        _B60, reset="flr", share="0a"
    ),
    "device <device> is not shared as the configuration says: <why>": too_small,
    "device <device> cannot be prepared as <name>: in the same request <other> has this name": same_name,
    "<address>: bound to <driver>, but there is no DRM card: see the kernel log for why it did not start": problem(
        "no DRM card"
    ),
    "<address>: local memory is unknown, the capacity is not published: <why>": problem("local memory"),
    "<address>: left out: <why>": problem("left out", "0000:20:00.0/device"),
}


def test_every_documented_message_has_a_producer_and_the_reverse() -> None:
    assert {shape for shape, heading in messages().items() if heading == "GPUs"} == set(PRODUCERS)


@pytest.mark.parametrize("shape", PRODUCERS)
def test_messages_are_said_as_documented(shape: str, root: Path) -> None:
    text = PRODUCERS[shape](root)
    assert fits(shape, text), text
