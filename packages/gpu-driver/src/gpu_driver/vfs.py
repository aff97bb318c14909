"""Virtual functions made for claims: the first claim on a mode of a PF has them made, the last one gives them back.

A claim has one VF for each share. Which one is written down before anything is made, so that nobody else gets it, and
does not depend on the order in which VFs or claims came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused, HostError, HostNotFound
from dra_common.model import ModeUse, ParentMode, Plan, PlannedDevice
from dra_common.pci import PCI_DEVICES, Binding, Bus, Setting, undashed
from dra_common.pci.version import driver_version
from dra_common.ports import Host
from pydantic import JsonValue

from gpu_driver import binding, discovery, modes, scheduling
from gpu_driver.config import config_of, wants_vfio
from gpu_driver.device import DRM_DRIVERS, VFIO_DRIVERS, Gpu, Surroundings
from gpu_driver.memory import DmemCapacity, local_memory, vf_quota
from gpu_driver.policy import GpuPolicy

_WHOLE = "whole"
_PROFILE = "profile"
"""How the VFs are scheduled: in a record only if that was changed."""
_UNDO, _AFTER = {"vf", "sharedGroup", "reset"}, {"vfs", "memoryMiB"}
_REMOVE = "remove them: write 0 to its sriov_numvfs"


def survey(host: Host, gpu: Gpu, policy: GpuPolicy) -> Gpu:
    """Read of a mode's PF what has to be known before VFs are made. Raises HostError, HardwareBusy."""
    pf = binding.survey(host, replace(gpu, driver_version=driver_version(host, gpu.driver)))
    if pf.around and not pf.around.vfs and _profile(gpu, policy) and scheduling.is_offered(host, gpu.bdf):
        with Bus(host) as bus:
            found = scheduling.read(host, bus, gpu.bdf)
        pf = replace(pf, around=replace(pf.around, scheduling=found))
    return replace(pf, memory_mib=local_memory(host, DmemCapacity(host), modes.pf_of(gpu)).mib)


def _profile(gpu: Gpu, policy: GpuPolicy) -> dict[str, str]:
    return policy.of(gpu).sriov.settings()


# --------------------------------------------------------------------------- deciding


@dataclass(slots=True)
class Planner:
    """Decides for one claim which parts of which PFs it has.

    Args:
        modes: those of the locked PFs.
        policy: what an operator decided.
    """

    modes: Mapping[str, ParentMode]
    policy: GpuPolicy
    _mine: dict[str, list[ModeUse]] = field(default_factory=dict)

    def whole(self, gpu: Gpu) -> ModeUse | None:
        """Return that a whole GPU keeps all modes away, where there are any, or a claim still has one.

        Raises DeviceRefused for a VF that was made for such claims.
        """
        mode = self.modes.get(modes.lock(gpu))
        if gpu.kind == "vf":
            if mode and mode.after is not None:
                why = f"it is there for claims on {mode.mode} of {gpu.parent}, and not published"
                cure = "delete and re-create the pod, so that it gets a device that is"
                raise DeviceRefused(f"device {gpu.name} cannot be given: {why}", cure=cure)
            return None
        if mode is None and not modes.is_divisible(gpu, self.policy):
            return None
        return self._used(ModeUse(modes.lock(gpu), _WHOLE))

    def part(self, wanted: Wanted, gpu: Gpu, options: Mapping[str, JsonValue] | None) -> PlannedDevice:
        """Give a VF of a mode. Raises DeviceRefused."""
        parent, vfio, config = modes.lock(gpu), wants_vfio(wanted), config_of(wanted)
        mode = self.modes.get(parent)
        if mode is None:
            use = self._first(parent, gpu)
        elif mode.mode == modes.kind(gpu.mode):
            use = mode.use(self._free(mode, gpu))
        else:
            use = ModeUse(
                parent, modes.kind(gpu.mode)
            )  # refused by whoever knows for whom it is in another mode
        undo: dict[str, JsonValue] = {
            "vf": _binding(gpu, vfio=vfio).to_json(),
            "sharedGroup": config.allow_shared_group,
            "reset": config.reset,
        }
        return PlannedDevice(wanted.allocated, (parent,), undo, self._used(use), options)

    def _used(self, use: ModeUse) -> ModeUse:
        mine = self._mine.setdefault(use.parent, [])
        if any(other.mode != use.mode for other in mine):
            raise DeviceRefused(
                f"{use.parent} cannot be in the modes {mine[0].mode} and {use.mode} at the same time",
                cure="re-create the claim; if it happens again, the cluster's scheduler does not know counters",
            )
        mine.append(use)
        return use

    def _first(self, parent: str, gpu: Gpu) -> ModeUse:
        """Say how the PF is found, and what is made of it."""
        around = gpu.around
        if around is None:
            raise ValueError(f"{gpu.bdf} was not surveyed")
        if gpu.mode not in modes.allowed(gpu, self.policy):
            raise _refused(gpu, "the configuration does not allow this mode (any more)", "see `sriov` in it")
        if gpu.driver not in DRM_DRIVERS:
            raise _refused(gpu, f"it is bound to {gpu.driver or 'no driver'}", "bind it to its DRM driver")
        if around.vfs:
            raise _refused(gpu, f"it has {around.vfs} virtual functions that no claim made", _REMOVE)
        setting = Setting(Binding(gpu.driver, around.override), around.autoprobe)
        before: dict[str, JsonValue] = {"device": gpu.device_id, "setting": setting.to_json()}
        after: dict[str, JsonValue] = {"vfs": gpu.mode, "memoryMiB": modes.share_mib(gpu)}
        if around.scheduling:
            profile = _profile(gpu, self.policy)
            before[_PROFILE] = scheduling.saved(around.scheduling, profile)
            after[_PROFILE] = {**profile}
        return ModeUse(parent, modes.kind(gpu.mode), len(self._mine.get(parent, ())), before, after)

    def _free(self, mode: ParentMode, gpu: Gpu) -> int:
        """Return a VF that no claim has, and nobody else. What an outsider has changed is not joined."""
        if len(gpu.vfs) != gpu.mode:
            why = f"it has {len(gpu.vfs)} virtual functions by now: somebody has changed their number"
            raise _refused(gpu, why, "delete the pods that use it, so that it is set again")
        foreign = [vf.vf_index for vf in gpu.vfs if vf.in_use and vf.vf_index is not None]
        mine = [use.part for use in self._mine.get(mode.parent, ())]
        part = mode.free(gpu.mode, [*mine, *foreign])
        if part is None:
            why = "all of its virtual functions are in use"
            if foreign:
                why += f"; number {', '.join(map(str, foreign))} perhaps by a virtual machine of no claim"
            raise _refused(
                gpu, why, "wait for other claims to end; end virtual machines that are of no claim"
            )
        return part


def _binding(gpu: Gpu, *, vfio: bool) -> Binding:
    """Return how the VF is to be bound: DRM by the driver of its PF."""
    loaded = gpu.around.drivers if gpu.around else frozenset[str]()
    driver = binding.vfio_driver(gpu, loaded) if vfio else gpu.driver
    if vfio and driver not in loaded:
        raise _refused(gpu, f"the kernel driver {driver} is not loaded", f"load the kernel module {driver}")
    return Binding(driver, driver if vfio else "")


def _refused(gpu: Gpu, why: str, cure: str) -> DeviceRefused:
    return DeviceRefused(f"device {gpu.name} cannot be divided: {gpu.bdf}: {why}", cure=cure)


# --------------------------------------------------------------------------- what a claim has


def is_part(device: PlannedDevice) -> bool:
    """Whether a VF was made for it."""
    return device.use is not None and device.use.after is not None


def given(device: PlannedDevice, gpu: Gpu) -> Gpu | None:
    """Return the VF that a claim has of a mode, None if it is not there; of anything else the GPU itself."""
    if device.use is None or not gpu.mode:
        return gpu
    return next((vf for vf in gpu.vfs if vf.vf_index == device.use.part), None)


# --------------------------------------------------------------------------- doing


def apply(plan: Plan, host: Host) -> None:
    """Make the VFs of a plan, and bind the claim's. Raises HostError and its kinds, DeviceRefused."""
    parts = list(_parts(plan))
    if not parts:
        return
    with Bus(host) as bus:
        for use, undo in parts:
            _make(bus, use)
            _give(host, bus, use, undo)


def _parts(plan: Plan) -> Iterator[tuple[ModeUse, Mapping[str, Any]]]:
    """Yield what a claim has of PFs, that alone if its record was lost. Raises HostError for what is not known."""
    for device in plan.devices:
        if device.use is None or not is_part(device):
            continue
        undo = device.undo or {}
        if undo.keys() not in (set(), _UNDO) or _after(device.use).keys() - {_PROFILE} != _AFTER:
            raise HostError(
                f"{device.use.parent}: a claim's record has a change of hardware that this version does not know",
                cure="run the version of the driver that wrote the claim's record, let it unprepare the claim",
            )
        yield device.use, undo


def _make(bus: Bus, use: ModeUse) -> None:
    """Have as many VFs as the mode says, none of them bound to anything; leave them alone if they are there."""
    pf, before, count = _pf(use), _before(use), _after(use)["vfs"]
    found = len(bus.look(pf).vfs)
    if found == count:
        return
    if found:
        why = f"{pf}: cannot be divided: somebody has just made {found} virtual functions"
        raise DeviceRefused(why, cure=_REMOVE)
    profile = _after(use).get(_PROFILE, {})
    everybody = {name: (profile[name],) * len(found) for name, found in _profile_before(use).items()}
    scheduling.bring(bus, pf, everybody)
    bus.bring(pf, replace(before, vfs=(Binding(),) * count))


def _give(host: Host, bus: Bus, use: ModeUse, undo: Mapping[str, Any]) -> None:
    vf = bus.look(_pf(use)).vfs[use.part]
    wanted = Binding.from_json(undo["vf"])
    if wanted.driver in VFIO_DRIVERS:
        _check_group(host, vf, shared=bool(undo["sharedGroup"]))
    scheduling.check(bus, _pf(use), use.part, _after(use).get(_PROFILE, {}))
    binding.bind_one(host, bus, vf, wanted)
    _check_memory(host, vf, use)


def _check_group(host: Host, vf: str, *, shared: bool) -> None:
    """Raise DeviceRefused if a virtual machine that gets the VF could reach the devices of others."""
    for gpu in discovery.at(host, [vf]):
        around = binding.neighbours(host, gpu)
        binding.check_vfio(replace(gpu, around=Surroundings(neighbours=around)), shared=shared)


def _check_memory(host: Host, vf: str, use: ModeUse) -> None:
    """Raise DeviceRefused if the kernel gave the VF less memory than was published."""
    promised = _after(use)["memoryMiB"]
    has = vf_quota(host, _pf(use), use.part)
    if has is None:
        has = next(
            (local_memory(host, DmemCapacity(host), gpu).mib for gpu in discovery.at(host, [vf])), None
        )
    if promised and has is not None and has < promised:
        raise DeviceRefused(
            f"{vf}: has {has} MiB of memory, {promised} MiB were promised: something else uses {_pf(use)}",
            cure="end what uses the GPU outside of claims, and undo provisioning by hand (sriov_admin)",
        )


def revert(plan: Plan, host: Host, vacated: Collection[str]) -> None:
    """Set PFs that nobody uses any more as they were found; of others only unbind the claim's VFs. Raises HostError."""
    parts = list(_parts(plan))
    if not parts:
        return
    with Bus(host) as bus:
        for use, undo in parts:
            with suppress(HostNotFound):
                if not _is_same(host, use):
                    continue
                if use.parent in vacated:
                    bus.restore(_pf(use), _before(use))
                    scheduling.bring(bus, _pf(use), _profile_before(use))
                elif vf := bus.look(_pf(use)).vfs.get(use.part):
                    bus.rebind(vf, Binding())
                    if undo.get("reset") == binding.FLR:
                        bus.reset(vf)


def _is_same(host: Host, use: ModeUse) -> bool:
    """Whether the PF still is the card that was divided, and not another one in its place."""
    return bool(host.sysfs.read(f"{PCI_DEVICES}/{_pf(use)}/device") == _found(use)["device"])


def _pf(use: ModeUse) -> str:
    return undashed(use.parent)


def _before(use: ModeUse) -> Setting:
    return Setting.from_json(_found(use)["setting"])


def _profile_before(use: ModeUse) -> scheduling.Values:
    return scheduling.values_of(_found(use).get(_PROFILE, {}))


def _found(use: ModeUse) -> Mapping[str, Any]:
    assert isinstance(use.before, dict)  # noqa: S101 - we wrote it
    return use.before


def _after(use: ModeUse) -> Mapping[str, Any]:
    assert isinstance(use.after, dict)  # noqa: S101 - we wrote it
    return use.after
