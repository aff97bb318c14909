"""The real driver with a configuration file that changes under it, as a mounted ConfigMap does."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.testing.waiting import wait_until
from driver_nodes import lines, names, taints
from gpu_nodes import by_address, gpu_cli, machine_only

FLEX, ARC = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
HEAD = "apiVersion: config.gpu.intel.com/v1alpha1\nkind: GpuDriverConfig\n"
NO_ARC = "devices:\n  - match: {family: Arc*}\n    publish: false\n"


class ConfigMap:
    """A folder as the kubelet mounts one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self._generation = folder, folder / "config.yaml", 0
        folder.mkdir()
        (folder / "config.yaml").symlink_to("..data/config.yaml")

    def hold(self, text: str) -> None:
        self._generation += 1
        made = self.folder / f"..{self._generation}"
        made.mkdir()
        (made / "config.yaml").write_text(HEAD + text)
        (self.folder / "..new").symlink_to(made.name)
        (self.folder / "..new").rename(self.folder / "..data")


def test_gpus_are_denied_and_allowed_while_it_runs() -> None:
    with machine_only("two-gpus") as node:
        config = ConfigMap(node.root / "config")
        config.hold("nodes: [{match: other, devices: [{match: {}, publish: false}]}]\n")
        node.start_driver(f"--config={config.file}")
        node.wait_published()
        assert names(node) == [FLEX, ARC]
        held = node.create_claim("held", by_address("0000:9a:00.0"))
        node.allocate(held)
        answer = node.prepare(held)
        config.hold(NO_ARC)
        wait_until(lambda: taints(node, ARC) == ["denied"], "the taint of the held GPU")
        assert names(node) == [FLEX, ARC]
        # Who has it keeps it, over a restart of the container and of the driver.
        assert node.prepare(held) == answer
        node.kill_driver()
        node.start_driver(f"--config={config.file}")
        assert node.prepare(held) == answer
        node.unprepare(held)
        wait_until(lambda: names(node) == [FLEX], "the denied GPU to go")
        config.hold("")
        wait_until(lambda: names(node) == [FLEX, ARC], "the GPU to come back")
        assert node.leftovers() == []


def test_a_bad_change_keeps_what_was_in_use_and_says_why() -> None:
    with machine_only("two-gpus") as node:
        config = ConfigMap(node.root / "config")
        config.hold(NO_ARC)
        node.start_driver(f"--config={config.file}")
        wait_until(lambda: names(node) == [FLEX], "all but the denied GPU")
        config.hold("devices: [{match: {}, publish: perhaps}]\n")
        wait_until(lambda: node.api.objects("Event"), "the Event")
        [event] = node.api.objects("Event")
        assert (event["reason"], event["type"]) == ("ConfigurationRefused", "Warning")
        said = f"configuration {config.file}: line 3: devices.0.publish: Input should be a valid boolean"
        assert said in event["note"]
        assert [said in line for line in lines(node)].count(True) == 1
        assert names(node) == [FLEX]
        # A restart cannot go by what it does not have.
        node.kill_driver()
        node.start_driver(f"--config={config.file}", wait=False)
        assert node.wait_dead() == 2
        assert said in lines(node)[-1]
        assert names(node) == [FLEX]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "gpus.yaml"
    path.write_text(HEAD + NO_ARC)
    return path


def test_commands_take_the_file_from_the_pod_s_environment(bare: Path) -> None:
    with machine_only("two-gpus") as node:
        place = f"--simulated-root={node.machine}"
        assert ARC in gpu_cli("slices", place).stdout
        shown = gpu_cli("slices", place, CONFIG=str(bare)).stdout
        assert FLEX in shown
        assert ARC not in shown
        [line] = [
            line for line in gpu_cli("devices", place, CONFIG=str(bare)).stdout.splitlines() if ARC in line
        ]
        assert line.rstrip().endswith("gpu.intel.com/denied")


def test_the_check_needs_nothing_but_the_file(bare: Path) -> None:
    said = gpu_cli("config", "check", str(bare))
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"{bare} is good\non every node:\n")
