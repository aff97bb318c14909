"""The simulated kernel: boots a machine from a profile and obeys writes, queries and a hand on the hardware.

Every method may be called from any thread; one thing happens at a time. Refusals are OSError with the kernel's errno.
"""

from __future__ import annotations

import errno
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dra_common.errors import SettingsError
from dra_common.simulate import aer, binding, bus, drm
from dra_common.simulate.errnos import refuse
from dra_common.simulate.folder import DEBUGFS
from dra_common.simulate.function import Function
from dra_common.simulate.hub import Hub
from dra_common.simulate.kernel_driver import KernelDriver, PciePort
from dra_common.simulate.machine import Machine
from dra_common.simulate.profile import AUTO, NONE, FunctionSpec, Profile
from dra_common.simulate.profile_file import Details, parse_details

BOOT_ID = "sys/kernel/random/boot_id"


class Kernel:
    """One machine and its kernel, below ``root``.

    Args:
        profile: the machine.
        root: where ``sys``, ``dev`` and ``proc`` go.
        drivers: all kernel drivers a profile may load, by their keys.
        details: how a function's ``details`` are decoded.
        node_major: make real character devices with this major number (needs CAP_MKNOD); None = plain files.
    """

    def __init__(
        self,
        profile: Profile,
        root: Path,
        drivers: Mapping[str, KernelDriver],
        details: Details,
        *,
        node_major: int | None = None,
    ) -> None:
        self.hub = Hub()
        self._lock = threading.Condition(threading.RLock())
        self._profile = profile
        self._root = root
        self._details = details
        self._node_major = node_major
        self._loadable = _choose(profile, drivers)
        self._hardware = {spec.bdf: spec for spec in profile.with_bridges()}
        self._unplugged = {spec.bdf for spec in self._hardware.values() if not spec.present}
        self._boots = 0
        self.machine = self._new_machine()

    # ------------------------------------------------------------------ booting

    def boot(self) -> None:
        """Build the machine as the profile shows it: bindings, overrides and VFs included. Raises SettingsError."""
        with self._lock, _profile_errors(self._profile):
            self._power_on(self._profile.boot_id or str(uuid.uuid4()))
            for function in self._endpoints():
                self._first_binding(function)
            for function in self._endpoints():
                self._first_vfs(function)

    def reboot(self) -> None:
        """Start again from the hardware alone: new boot id, no VFs, no overrides, drivers as the kernel chooses.

        Every other boot probes in reverse order, so that card, render and vfio numbers differ from the boot before.
        """
        with self._lock:
            self.machine.switch_off()
            self._boots += 1
            self._power_on(str(uuid.uuid4()))
            functions = self._endpoints()
            for function in reversed(functions) if self._boots % 2 else functions:
                binding.attach(self.machine, function)

    def _power_on(self, boot_id: str) -> None:
        self.machine = machine = self._new_machine()
        for tree in (machine.dev, machine.sys, machine.proc):
            tree.clear()
        machine.proc.write(BOOT_ID, boot_id)
        machine.proc.write("stat", f"btime {int(time.time())}")
        machine.proc.write("sys/kernel/osrelease", self._profile.kernel)
        self._make_system()
        bus.make(machine, self._rescan)
        for driver in self._loadable:
            bus.load(machine, driver)
        for spec in self._hardware.values():
            if spec.bdf not in self._unplugged:
                self._add(spec)

    def _make_system(self) -> None:
        sysfs = self.machine.sys
        for node, cpus in self._profile.numa.items():
            sysfs.write(f"devices/system/node/node{node}/cpulist", cpus)
        sysfs.write("devices/system/cpu/online", ",".join(self._profile.numa.values()))
        sysfs.make_folder(DEBUGFS)
        controllers = "cpuset cpu io memory hugetlb pids rdma misc"
        sysfs.write(
            "fs/cgroup/cgroup.controllers", f"{controllers} dmem" if self._profile.dmem else controllers
        )
        self.machine.refresh_dmem()

    def _new_machine(self) -> Machine:
        return Machine(self._profile, self._root, self.hub, node_major=self._node_major, turn=self._lock)

    def _add(self, spec: FunctionSpec) -> Function:
        function = Function(spec, details=parse_details(spec, self._details))
        self.machine.add_function(function)
        if spec.is_bridge:
            binding.attach(self.machine, function)
        return function

    def _endpoints(self) -> list[Function]:
        return [function for function in self.machine.functions.values() if not function.spec.is_bridge]

    def _first_binding(self, function: Function) -> None:
        self._first_state(function, function.spec.driver_override, function.spec.driver)

    def _first_vfs(self, pf: Function) -> None:
        sriov = pf.spec.sriov
        if sriov is None or not sriov.num:
            return
        if pf.driver is None or not pf.driver.sriov:
            raise refuse(errno.ENOENT, f"{pf.bdf}: sriov.num without a driver that can enable VFs")
        # Nothing may be probed before the overrides are set.
        self.machine.autoprobe = False
        pf.driver.sriov_configure(self.machine, pf, sriov.num)
        self.machine.autoprobe = True
        for vf in pf.vfs:
            wanted = sriov.vfs.get(vf.vf_index)
            self._first_state(
                vf, wanted.driver_override if wanted else None, wanted.driver if wanted else AUTO
            )

    def _first_state(self, function: Function, override: str | None, driver: str) -> None:
        if override:
            self.machine.stores[f"{function.folder}/driver_override"](override)
        if driver == AUTO:
            binding.attach(self.machine, function)
        elif driver != NONE:
            self._bind_by_name(function, driver)

    def _bind_by_name(self, function: Function, name: str) -> None:
        driver = self.machine.drivers.get(name)
        if driver is None:
            raise refuse(errno.ENODEV, f"{function.bdf}: driver {name} is not loaded")
        # A VF may have been bound while autoprobe was on, and the profile shows it off since.
        binding.force(self.machine, driver, function)

    # ------------------------------------------------------------------ requests

    def write(self, path: str, value: str) -> None:
        """Write to a sysfs attribute. Raises ENOENT, EISDIR, EACCES (not writable), or what the attribute says."""
        with self._lock:
            real = self.machine.sys.resolve(path)
            store = self.machine.stores.get(real)
            if store is None:
                folder = (self.machine.sys.root / real).is_dir()
                raise refuse(errno.EISDIR if folder else errno.EACCES, path)
            # A write of no bytes never reaches an attribute.
            if value:
                store(value)

    def query(self, node: str, name: str) -> bytes:
        """Ask a device node. Raises ENOENT, ENOTTY (nobody answers this), or what the driver says."""
        with self._lock:
            real = self.machine.dev.resolve(node)
            function = self.machine.nodes.get(real)
            if function is None or function.driver is None:
                raise refuse(errno.ENOTTY, node)
            return function.driver.query(self.machine, function, real, name)

    def open_node(self, node: str, bdf: str = "") -> Callable[[], None]:
        """Open a device node, and a VFIO group's device ``bdf`` through it; returns what closes both.

        Raises ENOENT, EBUSY, ENODEV.
        """
        with self._lock:
            close = self.machine.open_node(self.machine.dev.resolve(node), bdf)
        return lambda: self._close(close)

    def _close(self, close: Callable[[], None]) -> None:
        with self._lock:
            close()

    def power_off(self) -> None:
        """Let nobody wait any longer for what the machine would do."""
        with self._lock:
            self.machine.switch_off()

    def unplug(self, bdf: str) -> None:
        """Pull a function out, or a bridge with all behind it. Raises ENODEV, EINVAL (a VF)."""
        with self._lock:
            function = self.machine.functions.get(bdf)
            if function is None and bdf not in self._hardware:
                raise refuse(errno.ENODEV, f"no device {bdf!r}")
            if function is not None and function.is_vf:
                raise refuse(errno.EINVAL, f"{bdf} is a VF")
            self._unplugged |= {bdf, *self._behind(self._hardware[bdf])}
            if function is not None:
                self.machine.remove_below(function)

    def plug(self, bdf: str) -> None:
        """Put in what is in the profile but not there, with all behind it, and offer it to drivers.

        Raises ENODEV (not in the profile), EEXIST (it is there).
        """
        with self._lock:
            if bdf not in self._hardware:
                raise refuse(errno.ENODEV, f"no device {bdf!r} in profile {self._profile.name}")
            if bdf in self.machine.functions:
                raise refuse(errno.EEXIST, bdf)
            spec = self._hardware[bdf]
            self._unplugged -= {bdf, *spec.path, *self._behind(spec)}
            self._rescan("1")

    def wedge(self, bdf: str, methods: str) -> None:
        """Let a function hang so that its DRM driver gives it up. Raises ENODEV, EOPNOTSUPP, EINVAL."""
        with self._lock:
            drm.wedge(self.machine, self._function(bdf), methods)

    def sense(self, path: str, value: str) -> None:
        """Let an attribute of the hardware, as a sensor, say something else. Raises ENOENT, EISDIR."""
        with self._lock:
            real = self.machine.sys.resolve(path)
            if (self.machine.sys.root / real).is_dir():
                raise refuse(errno.EISDIR, path)
            self.machine.set_file(real, value)

    def report_error(self, bdf: str, severity: str, name: str) -> None:
        """Let a function report a PCIe error: ``nonfatal``, ``CmpltTO``. Raises ENODEV, EPROTONOSUPPORT, EINVAL."""
        with self._lock:
            aer.report(self.machine, self._function(bdf), severity, name)

    def _function(self, bdf: str) -> Function:
        function = self.machine.functions.get(bdf)
        if function is None:
            raise refuse(errno.ENODEV, f"no device {bdf!r}")
        return function

    def _behind(self, bridge: FunctionSpec) -> list[str]:
        return [spec.bdf for spec in self._hardware.values() if bridge.bdf in spec.path]

    def _rescan(self, _text: str) -> None:
        fresh = [
            self._add(spec)
            for bdf, spec in self._hardware.items()
            if bdf not in self._unplugged and bdf not in self.machine.functions
        ]
        for function in fresh:
            binding.attach(self.machine, function)


def _choose(profile: Profile, known: Mapping[str, KernelDriver]) -> Sequence[KernelDriver]:
    for key in profile.drivers:
        if key not in known:
            names = ", ".join(sorted(known))
            raise SettingsError(
                f"profile {profile.name}: drivers: no simulation of kernel driver {key}",
                cure=f"one of {names}",
            )
    return [PciePort(), *(known[key] for key in profile.drivers)]


@contextmanager
def _profile_errors(profile: Profile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "?")
        why = f"{error.filename or error.strerror} ({code})"
        raise SettingsError(f"profile {profile.name} cannot be set up: {why}") from error
