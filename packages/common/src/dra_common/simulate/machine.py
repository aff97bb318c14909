"""The simulated machine: its functions, loaded drivers, files, nodes, numbers and events.

This is what a :class:`~dra_common.simulate.KernelDriver` works with. Paths are relative to sysfs (``devices/…``) unless
a method says devfs. Things added with an ``owner`` vanish by themselves when that function loses its driver.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dra_common.simulate import attributes, binding, sriov, vfio_group
from dra_common.simulate.dynamic_id import DynamicId
from dra_common.simulate.errnos import refuse
from dra_common.simulate.function import Function
from dra_common.simulate.hub import Hub
from dra_common.simulate.kernel_driver import KernelDriver
from dra_common.simulate.profile import FunctionSpec, Profile
from dra_common.simulate.tree import DiskTree

Store = Callable[[str], None]
"""What a write to an attribute does; gets the written text as it came; raises OSError to refuse it."""

VIRTUAL = "devices/virtual"
"""Parent of class devices that belong to no hardware."""


@dataclass(frozen=True, slots=True)
class ClassDevice:
    """A device of a class (``drm``, ``vfio``, ``hwmon`` …) as it was added."""

    folder: str
    subsystem: str
    properties: Mapping[str, str]
    devname: str = ""
    dev: tuple[int, int] | None = None


class Machine:
    """One machine below ``root``: ``root/sys``, ``root/dev``, ``root/proc``.

    Args:
        profile: what to build.
        root: where.
        hub: who hears the uevents.
        node_major: make real character devices with this major number (needs CAP_MKNOD) instead of plain files.
        turn: held by whoever changes the machine; who has to wait lets others have it.

    Attributes:
        root: the machine's folder. A kernel driver may keep folders of its own there, beside the three trees: what a
            library answers on such a machine. They are there from ``load`` on; nothing else removes them.
        drivers: loaded kernel drivers by name, in the order in which they are asked.
        functions: present PCI functions by address.
        stores: what writes to attributes do, by path.
        nodes: device nodes below devfs and the function whose driver answers them.
        rescan: what a write to ``rescan`` does, the bus's or a function's.
        autoprobe: whether new VFs are offered to drivers; off while a profile's first state is made.
        users: who has each device node below devfs open.
        in_use: how many of them have each function, by address: they keep its driver from letting go.
    """

    def __init__(
        self,
        profile: Profile,
        root: Path,
        hub: Hub,
        *,
        node_major: int | None = None,
        turn: threading.Condition | None = None,
    ) -> None:
        self.profile = profile
        self.root = root
        self.hub = hub
        self._node_major = node_major
        self._node_minors: dict[str, int] = {}
        self.sys = DiskTree(root / "sys")
        self.dev = DiskTree(root / "dev")
        self.proc = DiskTree(root / "proc")
        self.drivers: dict[str, KernelDriver] = {}
        self.functions: dict[str, Function] = {}
        self.stores: dict[str, Store] = {}
        self.nodes: dict[str, Function | None] = {}
        self.dynamic_ids: dict[str, list[DynamicId]] = {}
        self.rescan: Store = lambda _text: None
        self.autoprobe = True
        self.users: defaultdict[str, set[object]] = defaultdict(set)
        self.in_use: Counter[str] = Counter()
        self._turn = turn or threading.Condition()
        self._off = False
        self._classes: dict[str, ClassDevice] = {}
        self._numbers: dict[str, set[int]] = {}

    # ------------------------------------------------------------------ files

    def add_file(
        self,
        path: str,
        text: str,
        *,
        store: Store | None = None,
        mode: int = 0,
        owner: Function | None = None,
    ) -> None:
        """Add an attribute; with ``store`` it can be written. ``mode`` is by default 0444, with a store 0644."""
        self.sys.write(path, text, mode or (0o644 if store else 0o444))
        if store:
            self.stores[path] = store
        self.on_release(owner, lambda: self.remove(path))

    def set_file(self, path: str, text: str) -> None:
        """Change what an attribute says; it keeps its store."""
        mode = (self.sys.root / path).stat().st_mode
        self.sys.write(path, text, mode)

    def add_sparse(self, path: str, size: int, *, owner: Function | None = None) -> None:
        """Add a binary file of ``size`` bytes (``resource2``)."""
        self.sys.sparse(path, size)
        self.on_release(owner, lambda: self.remove(path))

    def add_link(self, path: str, target: str, *, owner: Function | None = None) -> None:
        """Add a link to ``target``, itself a path below sysfs; the text of the link is made relative."""
        self.sys.link(path, target)
        self.on_release(owner, lambda: self.remove(path))

    def add_dev_link(self, path: str, text: str, *, owner: Function | None = None) -> None:
        """Add a link below devfs with exactly this text, as udev does for ``dri/by-path``."""
        self.dev.link_text(path, text)
        self.on_release(owner, lambda: self._remove_dev(path))

    def remove(self, path: str) -> None:
        """Remove a file, link or folder and what is below; folders of devices that become empty go too."""
        self.sys.remove(path)
        for stored in [name for name in self.stores if name == path or name.startswith(f"{path}/")]:
            del self.stores[stored]
        if path.startswith("devices/"):
            self.sys.prune(path.rpartition("/")[0])

    # ------------------------------------------------------------------ class devices and their nodes

    def add_class_device(  # noqa: PLR0913 - all by name
        self,
        parent: str,
        subsystem: str,
        name: str,
        *,
        dev: tuple[int, int] | None = None,
        devname: str = "",
        devtype: str = "",
        files: Mapping[str, str] | None = None,
        node_mode: int = 0o660,
        owner: Function | None = None,
    ) -> str:
        """Add ``<parent>/<subsystem>/<name>`` and all that belongs to it; return that path.

        Args:
            parent: folder of the hardware, or :data:`VIRTUAL` (then there is no ``device`` link).
            subsystem: the class, for example ``drm``.
            name: for example ``card1``.
            dev: (major, minor): gives a ``dev`` file and a link in ``dev/char``.
            devname: path of the device node below devfs (``dri/card1``); needs ``dev``.
            devtype: ``DEVTYPE`` of its uevents.
            files: further attributes, read-only.
            node_mode: permissions of the device node.
            owner: the function whose driver adds it; it answers queries put to the node.
        """
        folder = f"{parent}/{subsystem}/{name}"
        properties = _properties(dev, devname, devtype)
        device = ClassDevice(folder, subsystem, properties, devname, dev)
        self._classes[folder] = device
        self.on_release(owner, lambda: self.remove_class_device(folder))
        self._class_files(device, parent, files or {})
        if dev and devname:
            self._add_node(devname, node_mode)
            self.nodes[devname] = owner
        self.emit("add", folder, subsystem, properties)
        return folder

    def remove_class_device(self, folder: str) -> None:
        """Remove a class device, its links and its node; fine if it is gone."""
        device = self._classes.pop(folder, None)
        if device is None:
            return
        if device.devname:
            self._remove_node(device.devname)
            self.nodes.pop(device.devname, None)
        if device.dev:
            self.sys.remove(_char_link(device.dev))
        self.sys.remove(f"class/{device.subsystem}/{folder.rpartition('/')[2]}")
        self.remove(folder)
        self.emit("remove", folder, device.subsystem, device.properties)

    def change(self, folder: str, properties: Mapping[str, str] | None = None) -> None:
        """Send ``change`` for a class device, with further properties (``WEDGED=…``)."""
        device = self._classes[folder]
        self.emit("change", folder, device.subsystem, {**device.properties, **(properties or {})})

    def class_devices(self, function: Function, subsystem: str) -> tuple[str, ...]:
        """Return the folders of a function's devices of a class."""
        below = f"{function.folder}/{subsystem}/"
        return tuple(folder for folder in self._classes if folder.startswith(below))

    def _class_files(self, device: ClassDevice, parent: str, files: Mapping[str, str]) -> None:
        name = device.folder.rpartition("/")[2]
        self.sys.make_folder(device.folder)
        self.sys.link(f"{device.folder}/subsystem", f"class/{device.subsystem}")
        self.sys.make_folder(f"class/{device.subsystem}")
        self.sys.link(f"class/{device.subsystem}/{name}", device.folder)
        if not parent.startswith(VIRTUAL):
            self.sys.link(f"{device.folder}/device", parent)
        if device.dev:
            self.sys.write(f"{device.folder}/dev", f"{device.dev[0]}:{device.dev[1]}")
            self.sys.link(_char_link(device.dev), device.folder)
        for file, text in files.items():
            self.sys.write(f"{device.folder}/{file}", text)
        lines = [f"{key}={value}" for key, value in device.properties.items()]
        self._add_uevent(device, "\n".join(lines))

    def _add_uevent(self, device: ClassDevice, text: str) -> None:
        self.add_file(f"{device.folder}/uevent", text)

    def _add_node(self, devname: str, mode: int) -> None:
        if self._node_major is None:
            self.dev.file_for_node(devname, mode)
            return
        minor = self._node_minors[devname] = self.allocate("node")
        self.dev.device_node(devname, self._node_major, minor, mode)

    def _remove_node(self, devname: str) -> None:
        self._remove_dev(devname)
        if (minor := self._node_minors.pop(devname, None)) is not None:
            self.free("node", minor)

    def _remove_dev(self, path: str) -> None:
        self.dev.remove(path)
        self.dev.prune(path.rpartition("/")[0])

    # ------------------------------------------------------------------ numbers

    def allocate(self, pool: str, first: int = 0, *, owner: Function | None = None) -> int:
        """Return the lowest free number of ``pool`` (``card``, ``render``, ``hwmon`` …) from ``first`` on."""
        taken = self._numbers.setdefault(pool, set())
        number = first
        while number in taken:
            number += 1
        taken.add(number)
        self.on_release(owner, lambda: self.free(pool, number))
        return number

    def free(self, pool: str, number: int) -> None:
        """Give a number back."""
        self._numbers.get(pool, set()).discard(number)

    # ------------------------------------------------------------------ functions

    def add_function(self, function: Function) -> None:
        """Make a function appear, unbound (``device_add``)."""
        self.functions[function.bdf] = function
        attributes.make(self, function)
        self.emit("add", function.folder, "pci", attributes.properties(function))

    def remove_function(self, function: Function) -> None:
        """Make a function vanish: its driver goes first, and with it its VFs."""
        binding.unbind(self, function)
        properties = attributes.properties(function)
        attributes.unmake(self, function)
        del self.functions[function.bdf]
        self.emit("remove", function.folder, "pci", properties)

    def remove_below(self, function: Function) -> None:
        """Make a function vanish, and before it everything behind it if it is a bridge."""
        for other in reversed(tuple(self.functions.values())):
            # VFs go with their PF.
            if f"{other.spec.parent}/".startswith(f"{function.folder}/") and not other.is_vf:
                self.remove_function(other)
        if function.pf is not None:
            sriov.remove(self, function.pf, function)
        else:
            self.remove_function(function)

    def beside(self, function: Function) -> tuple[Function, ...]:
        """Return the functions behind the same port, this one with its VFs; a function of the root complex is alone."""
        if not function.spec.path:
            return (function,)
        parent = function.spec.parent
        return tuple(other for other in self.functions.values() if other.spec.parent == parent)

    def change_function(self, function: Function, properties: Mapping[str, str]) -> None:
        """Send ``change`` for a function, with further properties (``ERROR_EVENT=…``)."""
        self.emit("change", function.folder, "pci", {**properties, **attributes.properties(function)})

    def vf_group(self, pf: FunctionSpec, index: int) -> int | None:
        """Return the IOMMU group of a new VF: the profile's, else the first free one; None without an IOMMU."""
        if pf.iommu_group is None or pf.sriov is None:
            return None
        wanted = pf.sriov.vfs.get(index)
        if wanted and wanted.iommu_group is not None:
            return wanted.iommu_group
        return self.free_group()

    def free_group(self) -> int:
        """Return the number of a new IOMMU group: above all that there are, or will be by the profile."""
        return max(self._groups(), default=-1) + 1

    def _groups(self) -> set[int]:
        present = {int(name) for name in self.sys.names("kernel/iommu_groups")}
        planned = {function.iommu_group for function in self.profile.functions}
        vfs = (function.sriov.vfs.values() for function in self.profile.functions if function.sriov)
        reserved = {vf.iommu_group for group in vfs for vf in group}
        return {group for group in present | planned | reserved if group is not None}

    def refresh_dmem(self) -> None:
        """Make ``fs/cgroup/dmem.capacity`` list the regions of functions that have DRM nodes."""
        regions = self.profile.dmem
        if not regions:
            return
        lines = [f"{region} {size}" for region, size in regions.items() if self._has_region(region)]
        self.sys.write("fs/cgroup/dmem.capacity", "\n".join(lines) if lines else "")

    def _has_region(self, region: str) -> bool:
        subsystem, _, rest = region.partition("/")
        function = self.functions.get(rest.partition("/")[0])
        return function is not None and bool(self.sys.names(f"{function.folder}/{subsystem}"))

    # ------------------------------------------------------------------ waiting

    @contextmanager
    def device_lock(self, function: Function) -> Iterator[None]:
        """Hold the lock of a device (``device_lock``), which one thread may take again. Raises EIO: power was cut."""
        me = threading.get_ident()
        self.block(lambda: function.locked_by in (None, me))
        before, function.locked_by = function.locked_by, me
        try:
            yield
        finally:
            function.locked_by = before
            self._turn.notify_all()

    def block(self, until: Callable[[], bool]) -> None:
        """Wait in the kernel; nothing interrupts it. Raises EIO when the machine is switched off."""
        self._turn.wait_for(lambda: self._off or until())
        if self._off:
            raise refuse(errno.EIO, "the machine was switched off")

    def open_node(self, node: str, bdf: str = "") -> Callable[[], None]:
        """Count a user of a device node, and of a function that is had through it; returns what ends that.

        Raises EBUSY: a VFIO group has one user; ENODEV: that group has no such function bound to a VFIO driver.
        """
        if node.startswith("vfio/") and self.users[node]:
            raise refuse(errno.EBUSY, node)
        if bdf and not self._is_had_through(node, bdf):
            raise refuse(errno.ENODEV, f"{bdf} is not to be had through {node}")
        user = object()
        self.users[node].add(user)
        self.in_use[bdf] += 1
        self._opened(bdf)
        return lambda: self._close_node(node, bdf, user)

    def _close_node(self, node: str, bdf: str, user: object) -> None:
        self.users[node].discard(user)
        self.in_use[bdf] -= 1
        self._opened(bdf)
        self._turn.notify_all()

    def _opened(self, bdf: str) -> None:
        if (function := self.functions.get(bdf)) is not None:
            attributes.show_enabled(self, function)

    def _is_had_through(self, node: str, bdf: str) -> bool:
        function = self.functions.get(bdf)
        if function is None or not self.sys.exists(f"{function.folder}/vfio-dev"):
            return False
        return node == vfio_group.node(self, function)

    def switch_off(self) -> None:
        """End all waiting: nothing will be returned from any more."""
        self._off = True
        self._turn.notify_all()

    # ------------------------------------------------------------------ SR-IOV

    def enable_vfs(self, pf: Function, count: int) -> None:
        """Make ``count`` VFs appear, as ``pci_enable_sriov`` does. For ``KernelDriver.sriov_configure``."""
        sriov.enable(self, pf, count)

    def disable_vfs(self, pf: Function) -> None:
        """Make all VFs vanish, as ``pci_disable_sriov`` does."""
        sriov.disable(self, pf)

    def set_total_vfs(self, pf: Function, total: int) -> None:
        """Lower ``sriov_totalvfs`` until the driver is unbound (``pci_sriov_set_totalvfs``); for ``probe``."""
        sriov.set_total(self, pf, total)

    # ------------------------------------------------------------------ events

    def emit(self, action: str, folder: str, subsystem: str, properties: Mapping[str, str]) -> None:
        """Send a uevent to all who listen."""
        self.hub.emit(action, f"/{folder}", subsystem, properties)

    # ------------------------------------------------------------------ ownership

    def release(self, function: Function) -> None:
        """Take away everything ``function`` owns, newest first."""
        while function.undo:
            function.undo.pop()()

    def on_release(self, owner: Function | None, undo: Callable[[], None]) -> None:
        """Call ``undo``, which must bear being late, when ``owner`` loses its driver."""
        if owner is not None:
            owner.undo.append(undo)


def _char_link(dev: tuple[int, int]) -> str:
    return f"dev/char/{dev[0]}:{dev[1]}"


def _properties(dev: tuple[int, int] | None, devname: str, devtype: str) -> dict[str, str]:
    properties: dict[str, str] = {}
    if dev:
        properties = {"MAJOR": str(dev[0]), "MINOR": str(dev[1])}
    if devname:
        properties["DEVNAME"] = devname
    if devtype:
        properties["DEVTYPE"] = devtype
    return properties
