"""The composition root in this process: a made-up driver between a real-looking API server, kubelet and machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from app_world import World, app_world
from dra_common.errors import DraError, KubeletError, SettingsError, StateError
from dra_common.settings import HostSettings
from dra_common.testing.knobs import DRIVER
from dra_common.testing.kubelet import FakeKubelet
from dra_common.testing.waiting import wait_until


@pytest.fixture
def world(short_tmp: Path) -> Iterator[World]:
    with app_world(short_tmp) as made:
        yield made


def test_from_start_to_stop(world: World) -> None:
    threads = threading.active_count()
    with FakeKubelet(world.root / "registry") as kubelet:
        with ExitStack() as stack:
            world.app().start(stack)
            kubelet.wait_registered(DRIVER)
            wait_until(lambda: world.devices() == ["a", "b"], "the devices")
            ref = world.claim("one", "a")
            answer = kubelet.prepare([ref], DRIVER)[ref.uid]
            assert [device.cdi_ids for device in answer.devices] == [(f"example.com/knob={ref.uid}-a",)]
            assert len(list((world.root / "cdi").iterdir())) == 1
            assert kubelet.unprepare([ref], DRIVER) == {ref.uid: ""}
            assert not list((world.root / "cdi").iterdir())
        kubelet.wait_deregistered(DRIVER)
    assert list((world.root / "registry").iterdir()) == []
    assert not (world.state / "dra.sock").exists()
    # The slices stay: a restart disturbs nobody.
    assert world.devices() == ["a", "b"]
    wait_until(lambda: threading.active_count() <= threads, "our threads to end")


def test_a_claim_that_comes_with_the_registration_finds_recovery_done(world: World) -> None:
    """A hold and a record of an earlier life are put in order before the first call can arrive."""
    with ExitStack() as stack:
        world.app().start(stack)
        with FakeKubelet(world.root / "registry") as kubelet:
            kubelet.wait_registered(DRIVER)
            ref = world.claim("one", "a")
            assert kubelet.prepare([ref], DRIVER)[ref.uid].devices
    orphan = world.state / "held" / "b"
    orphan.symlink_to("00000000-0000-0000-0000-00000000dead")
    with ExitStack() as stack:
        world.app().start(stack)
        assert not orphan.is_symlink()
        assert (world.state / "held" / "a").is_symlink()
        with FakeKubelet(world.root / "registry") as kubelet:
            kubelet.wait_registered(DRIVER)
            assert kubelet.unprepare([ref], DRIVER) == {ref.uid: ""}
    assert list((world.state / "held").iterdir()) == []


def test_a_hotplug_ring_is_not_needed_for_what_unprepare_gives_back(world: World) -> None:
    """The engine rings, the reconciler looks: an attribute that a claim changed is published again after it."""
    with FakeKubelet(world.root / "registry") as kubelet, ExitStack() as stack:
        world.app(rescan_seconds=3600.0).start(stack)
        kubelet.wait_registered(DRIVER)
        wait_until(world.devices, "the devices")
        ref = world.claim("one", "a")
        parameters = {"apiVersion": f"{DRIVER}/v1", "kind": "KnobConfig", "level": 5}
        stored = world.api.get("ResourceClaim", "one", "default")
        assert stored is not None
        config = [{"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": parameters}}]
        stored["status"]["allocation"]["devices"]["config"] = config
        world.api.put("ResourceClaim", stored)
        assert kubelet.prepare([ref], DRIVER)[ref.uid].devices
        wait_until(lambda: levels(world) == {"a": 5, "b": 1}, "the new level")
        kubelet.unprepare([ref], DRIVER)
        wait_until(lambda: levels(world) == {"a": 1, "b": 1}, "the old level")


def levels(world: World) -> dict[str, int]:
    slices = world.api.objects("ResourceSlice")
    devices = [device for item in slices for device in item["spec"].get("devices", ())]
    return {device["name"]: device["attributes"]["level"]["int"] for device in devices}


def test_fields_that_the_server_drops_are_left_out_next_time(short_tmp: Path) -> None:
    """The publisher learns it, the slicer makes the slices anew, both wired here."""
    with app_world(short_tmp, feature_gates={"DRADeviceTaints": False}) as world, ExitStack() as stack:
        world.app(rescan_seconds=1.0).start(stack)
        wait_until(lambda: world.devices() == ["a", "b"], "the devices")
        # The taint of absence cannot be stored: a device that vanished is withdrawn at once.
        (short_tmp / "sys/knobs/b").unlink()
        wait_until(lambda: world.devices() == ["a"], "the device to go")


# --------------------------------------------------------------------------- what keeps it from starting


def refused(world: World, kind: type[DraError], **changes: object) -> str:
    with pytest.raises(kind) as caught, ExitStack() as stack:
        world.app(**changes).start(stack)
    assert not list(world.root.glob("**/*.sock"))
    return str(caught.value)


def test_missing_kubelet_folders_are_refused_before_anything_is_written(world: World) -> None:
    nowhere = world.root / "nowhere"
    assert str(nowhere) in refused(world, KubeletError, kubelet_registry_dir=nowhere)
    assert str(nowhere) in refused(world, KubeletError, kubelet_plugins_dir=nowhere)
    assert not nowhere.exists()
    assert not (world.root / "cdi").exists()


def test_a_machine_that_is_not_there(world: World) -> None:
    gone = world.root / "gone"
    assert str(gone) in refused(world, SettingsError, host=HostSettings(gone, gone, gone))
    assert not world.state.exists()


def test_a_broken_kubeconfig_is_refused_before_anything_is_written(world: World) -> None:
    (world.root / "kubeconfig").write_text("{")
    assert "kubeconfig" in refused(world, SettingsError)
    assert not world.state.exists()


def test_state_that_cannot_be_read_keeps_the_driver_from_guessing(world: World) -> None:
    world.state.mkdir()
    (world.state / "claims").write_text("in the way")
    assert f"{world.state}/claims" in refused(world, StateError)


def test_a_failure_half_way_stops_what_was_started(world: World) -> None:
    threads = threading.active_count()
    (world.root / "registry" / f"{DRIVER}-reg.sock").write_text("in the way")
    with pytest.raises(KubeletError, match="is a regular file"), ExitStack() as stack:
        world.app().start(stack)
    assert not (world.state / "dra.sock").exists()
    wait_until(lambda: threading.active_count() <= threads, "our threads to end")
    assert world.api.objects("ResourceSlice") == ()
    # Once it is cured, the same folder serves.
    (world.root / "registry" / f"{DRIVER}-reg.sock").unlink()
    with FakeKubelet(world.root / "registry") as kubelet, ExitStack() as stack:
        world.app().start(stack)
        kubelet.wait_registered(DRIVER)


# --------------------------------------------------------------------------- the configuration file

CONFIG = "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\n"


def test_a_changed_configuration_is_published_without_a_restart(world: World) -> None:
    file = world.root / "config.yaml"
    file.write_text(f"{CONFIG}devices: [{{match: a, publish: false}}]\n")
    with ExitStack() as stack:
        world.app(config=file, rescan_seconds=3600.0).start(stack)
        wait_until(lambda: world.devices() == ["b"], "all but the denied device")
        file.write_text(f"{CONFIG}label: new\n")
        wait_until(lambda: world.devices() == ["a", "b"], "both devices")
        [item] = world.slices()
        labels = [device["attributes"]["label"] for device in item["spec"]["devices"]]
        assert labels == [{"string": "new"}] * 2


def test_a_refused_change_is_told_to_the_cluster_and_disturbs_nobody(world: World) -> None:
    file = world.root / "config.yaml"
    file.write_text(f"{CONFIG}label: old\n")
    with FakeKubelet(world.root / "registry") as kubelet, ExitStack() as stack:
        world.app(config=file).start(stack)
        kubelet.wait_registered(DRIVER)
        file.write_text(f"{CONFIG}labels: new\n")
        wait_until(lambda: world.api.objects("Event"), "the Event")
        [event] = world.api.objects("Event")
        assert event["reason"] == "ConfigurationRefused"
        assert "labels: unknown field" in event["note"]
        ref = world.claim("one", "a")
        assert kubelet.prepare([ref], DRIVER)[ref.uid].devices
    assert world.driver.policy.label == "old"


def test_a_bad_configuration_is_refused_before_anything_is_written(world: World) -> None:
    file = world.root / "config.yaml"
    file.write_text(f"{CONFIG}labels: new\n")
    assert f"{file}: line 3: labels: unknown field" in refused(world, SettingsError, config=file)
    assert not world.state.exists()
