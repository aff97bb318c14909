"""The configuration in use: a good change is taken at once and whole, a bad one changes nothing and is told once."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from dra_common.errors import SettingsError
from dra_common.reload import Configuration
from dra_common.telemetry import CONFIG_LOADS, Reason, Row
from dra_common.testing.knobs import KnobDriver, KnobPolicy
from dra_common.testing.waiting import wait_until

HEAD = "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\n"


class Notes:
    """A telemetry that remembers."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.events: list[tuple[Reason, str]] = []
        self.rings: list[str] = []

    def count(self, row: Row, amount: float = 1, /, **labels: str) -> None:
        assert (row, amount) == (CONFIG_LOADS, 1)
        self.loads.append(labels["result"])

    def observe(self, row: Row, value: float, /, **labels: str) -> None:
        raise NotImplementedError

    def event(self, reason: Reason, note: str) -> None:
        self.events.append((reason, note))


class Mount:
    """A folder as the kubelet mounts a ConfigMap: its files are links through ``..data``, which is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.generation = folder, 0
        self.file = folder / "config.yaml"

    def hold(self, text: str | None) -> None:
        """Become the next generation, without a file if None."""
        self.generation += 1
        new = self.folder / f"..{self.generation}"
        new.mkdir(parents=True)
        if text is not None:
            (new / "config.yaml").write_text(text)
        (self.folder / "..tmp").symlink_to(new.name)
        (self.folder / "..tmp").rename(self.folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/config.yaml")


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "mounted")


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def driver() -> KnobDriver:
    return KnobDriver()


def test_without_a_file_flags_alone_decide(driver: KnobDriver, notes: Notes) -> None:
    configuration = Configuration(driver, None, {"label": "flag"}, "n")
    assert driver.policy == KnobPolicy(label="flag")
    configuration.start(notes, notes.rings.append)
    configuration.look()
    assert configuration.current() == {}
    assert (notes.loads, notes.rings, configuration.why_dead()) == ([], [], "")
    configuration.stop()


def test_a_driver_without_a_configuration_is_left_alone(driver: KnobDriver) -> None:
    driver.policy_kind = None
    Configuration(driver, None, {}, "n").look()
    assert driver.policy == KnobPolicy()


def test_a_bad_file_is_refused_at_the_start(driver: KnobDriver, mount: Mount) -> None:
    mount.hold(f"{HEAD}label: 7\n")
    with pytest.raises(SettingsError, match=r"config\.yaml: line 3: label: "):
        Configuration(driver, mount.file, {}, "n")
    assert driver.policy == KnobPolicy()


def test_a_missing_file_is_refused_at_the_start(driver: KnobDriver, mount: Mount) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Configuration(driver, mount.file, {}, "n")


def started(driver: KnobDriver, mount: Mount, notes: Notes, text: str) -> Configuration:
    """One that looks when it is told to."""
    mount.hold(HEAD + text)
    configuration = Configuration(driver, mount.file, {}, "n", period=3600)
    configuration.start(notes, notes.rings.append)
    assert notes.loads.pop() == "success"
    return configuration


def test_a_change_is_taken_and_rung_for(
    driver: KnobDriver, mount: Mount, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    configuration = started(driver, mount, notes, "label: old\n")
    assert driver.policy.label == "old"
    configuration.look()
    assert (notes.loads, notes.rings) == ([], [])
    mount.hold(f"{HEAD}label: new\nshout: true\n")
    configuration.look()
    assert driver.policy == KnobPolicy(label="new", shout=True)
    assert (notes.loads, len(notes.rings)) == (["success"], 1)
    assert caplog.messages[-1] == f"configuration {mount.file} was read again: label, shout changed"
    configuration.stop()


def test_the_policy_is_replaced_never_changed(driver: KnobDriver, mount: Mount, notes: Notes) -> None:
    """Who holds the old one decides by it to the end."""
    configuration = started(driver, mount, notes, "label: old\n")
    old = driver.policy
    mount.hold(f"{HEAD}label: new\n")
    configuration.look()
    assert (old.label, driver.policy.label) == ("old", "new")
    configuration.stop()


def test_a_change_for_other_nodes_is_no_news(
    driver: KnobDriver, mount: Mount, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    configuration = started(driver, mount, notes, "label: old\n")
    said, before = len(caplog.messages), driver.policy
    mount.hold(f"{HEAD}label: old\nnodes: [{{match: other, label: new}}]\n")
    configuration.look()
    assert driver.policy is before
    assert (len(caplog.messages), notes.rings) == (said, [])
    configuration.stop()


@pytest.mark.parametrize("bad", [f"{HEAD}label: 7\n", "", "a: [", None])
def test_a_bad_change_keeps_the_old_one_and_is_told_once(
    driver: KnobDriver, mount: Mount, notes: Notes, caplog: pytest.LogCaptureFixture, bad: str | None
) -> None:
    configuration = started(driver, mount, notes, "label: old\n")
    before = driver.policy
    mount.hold(bad)
    for _ in range(3):
        configuration.look()
    assert driver.policy is before
    assert configuration.current() == {(): 0}
    assert (notes.loads, notes.rings) == (["error"], [])
    [(reason, note)] = notes.events
    assert reason is Reason.CONFIG_REFUSED
    assert str(mount.file) in note
    [line] = caplog.messages
    assert "what was in use before stays" in line
    assert str(mount.file) in line
    configuration.stop()


def test_another_bad_change_is_told_again_the_same_is_not(
    driver: KnobDriver, mount: Mount, notes: Notes
) -> None:
    configuration = started(driver, mount, notes, "label: old\n")
    for text in ("label: 7\n", "label: 7\n# touched\n", "colour: red\n"):
        mount.hold(HEAD + text)
        configuration.look()
    assert notes.loads == ["error"] * 3
    assert ["label" in note for _, note in notes.events] == [True, False]
    configuration.stop()


def test_a_good_file_after_a_bad_one(
    driver: KnobDriver, mount: Mount, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    configuration = started(driver, mount, notes, "label: old\n")
    mount.hold("bad")
    configuration.look()
    mount.hold(f"{HEAD}label: old\n")
    configuration.look()
    assert configuration.current() == {(): 1}
    assert caplog.messages[-1] == f"configuration {mount.file} was read again: nothing changed"
    assert notes.rings == []
    configuration.stop()


def test_a_file_written_in_place_is_seen_too(driver: KnobDriver, tmp_path: Path, notes: Notes) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(f"{HEAD}label: a\n")
    configuration = Configuration(driver, path, {}, "n", period=3600)
    path.write_text(f"{HEAD}label: b\n")
    os.utime(path, ns=(1, 1))
    configuration.look()
    assert driver.policy.label == "b"


def test_a_change_between_the_start_and_the_first_look_is_seen(driver: KnobDriver, mount: Mount) -> None:
    mount.hold(f"{HEAD}label: a\n")
    configuration = Configuration(driver, mount.file, {}, "n", period=3600)
    mount.hold(f"{HEAD}label: b\n")
    configuration.look()
    assert driver.policy.label == "b"


def test_flags_stay_above_a_changed_file(driver: KnobDriver, mount: Mount) -> None:
    mount.hold(f"{HEAD}label: a\n")
    configuration = Configuration(driver, mount.file, {"label": "flag"}, "n", period=3600)
    mount.hold(f"{HEAD}label: b\nshout: true\n")
    configuration.look()
    assert driver.policy == KnobPolicy(label="flag", shout=True)


def test_it_looks_by_itself_and_survives_a_defect(
    mount: Mount, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(KnobDriver):
        def configure(self, policy: object) -> None:
            assert isinstance(policy, KnobPolicy)
            if policy.label == "bug":
                raise RuntimeError("a defect")
            self.policy = policy

    driver = Broken()
    mount.hold(f"{HEAD}label: a\n")
    configuration = Configuration(driver, mount.file, {}, "n", period=0.01)
    configuration.start(notes, notes.rings.append)
    mount.hold(f"{HEAD}label: bug\n")
    wait_until(lambda: "the look at the configuration failed" in caplog.text, "the defect to show")
    mount.hold(f"{HEAD}label: b\n")
    wait_until(lambda: driver.policy.label == "b", "the next file")
    assert configuration.why_dead() == ""
    configuration.stop()
    configuration.stop()
    assert configuration.why_dead() == ""
