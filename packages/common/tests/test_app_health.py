"""Health through the whole app: from a file to the slice, the kubelet, Events and metrics, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from app_world import NODE, World, app_world
from dra_common.errors import SettingsError
from dra_common.settings import HealthSettings
from dra_common.testing.knobs import DRIVER
from dra_common.testing.kubelet import FakeKubelet, HealthRules, SeenHealth
from dra_common.testing.waiting import wait_until

KEY = f"{DRIVER}/unhealthy"
BAD = "- {device: a, severity: critical, what: memory errors, message: 3 since noon}\n"
FINE = "- {device: a, severity: ok}\n"


@pytest.fixture
def world(short_tmp: Path) -> Iterator[World]:
    with app_world(short_tmp) as made:
        (short_tmp / "health.yaml").write_text(FINE)
        yield made


def health(world: World, **changes: Any) -> dict[str, HealthSettings]:
    return {"health": HealthSettings(monitoring=True, file=world.root / "health.yaml", **changes)}


def published(world: World) -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """Device -> its attribute ``health`` and its taints."""
    devices = [device for item in world.slices() for device in item["spec"].get("devices", ())]
    return {
        device["name"]: (
            device["attributes"].get("health", {}).get("string", ""),
            [(taint["key"], taint["value"], taint["effect"]) for taint in device.get("taints", ())],
        )
        for device in devices
    }


def wait_published(world: World, device: str, state: str, taints: list[tuple[str, str, str]]) -> None:
    wait_until(lambda: published(world).get(device) == (state, taints), f"{device} to be {state}")


@pytest.mark.scenario(72)
def test_a_device_goes_bad_and_recovers(world: World) -> None:
    rules = HealthRules(retry=0.05)
    with FakeKubelet(world.root / "registry", health=rules) as kubelet, ExitStack() as stack:
        world.app(**health(world)).start(stack)
        kubelet.wait_registered(DRIVER)
        wait_published(world, "a", "Healthy", [])
        assert published(world)["b"] == ("Unknown", [])
        world.api.forget_requests()
        (world.root / "health.yaml").write_text(BAD)
        wait_published(world, "a", "Unhealthy", [(KEY, "memory-errors", "NoExecute")])
        assert [each.method for each in world.api.writes if "resourceslices" in each.path] == ["PUT"]
        said = SeenHealth("Unhealthy", "memory errors (critical): 3 since noon")
        wait_until(lambda: kubelet.health(DRIVER, NODE, "a") == said, "the kubelet to know")
        (world.root / "health.yaml").write_text(FINE)
        wait_published(world, "a", "Healthy", [])
        wait_until(lambda: kubelet.health(DRIVER, NODE, "a") == SeenHealth("Healthy"), "the kubelet to know")
        wait_until(
            lambda: (
                [event["reason"] for event in world.api.objects("Event")]
                == ["DeviceUnhealthy", "DeviceRecovered"]
            ),
            "both Events",
        )
        notes = [event["note"] for event in world.api.objects("Event")]
        assert notes == ["a is unhealthy: memory errors (critical): 3 since noon", "a is healthy again"]


def test_what_is_bad_already_is_never_published_without_its_taint(world: World) -> None:
    """A taint that goes for a moment, while the driver starts again, lets pods onto a bad device."""
    (world.root / "health.yaml").write_text(BAD)
    with ExitStack() as stack:
        world.app(**health(world)).start(stack)
        wait_until(world.slices, "the slices")
        assert published(world)["a"][1]
        (first,) = world.slices()
    with ExitStack() as stack:
        world.app(**health(world)).start(stack)
        with FakeKubelet(world.root / "registry") as kubelet:
            kubelet.wait_registered(DRIVER)
            wait_until(lambda: kubelet.health(DRIVER, NODE, "a").status == "Unhealthy", "the kubelet to know")
    assert [item["metadata"]["resourceVersion"] for item in world.slices()] == [
        first["metadata"]["resourceVersion"]
    ]


@pytest.mark.scenario(75)
@pytest.mark.parametrize("off", [{"monitoring": False}, {"monitoring": True, "sources": ("none",)}])
def test_nothing_is_watched_unless_it_is_asked_for(world: World, off: dict[str, Any]) -> None:
    (world.root / "health.yaml").write_text(BAD)
    settings = HealthSettings(file=world.root / "health.yaml", **off)
    with FakeKubelet(world.root / "registry") as kubelet, ExitStack() as stack:
        world.app(health=settings).start(stack)
        kubelet.wait_registered(DRIVER)
        wait_published(world, "a", "", [])
        assert kubelet.health_responses(DRIVER) == 0


def test_a_source_that_the_driver_does_not_have_is_refused(world: World) -> None:
    with pytest.raises(SettingsError, match=r"names 'xpumd', which knob-driver does not have .*file"):
        world.app(**health(world, sources=("file", "xpumd")))


def test_the_effect_and_the_threshold_are_settings(world: World) -> None:
    (world.root / "health.yaml").write_text("- {device: b, severity: warning}")
    with ExitStack() as stack:
        world.app(**health(world)).start(stack)
        wait_published(world, "b", "Healthy", [])
    with ExitStack() as stack:
        world.app(**health(world, ignore_warning=False, effect=None)).start(stack)
        wait_published(world, "b", "Unhealthy", [])
