"""The schema of a profile: one YAML file that describes a machine.

.. code-block:: yaml

    name: two-cards
    description: Server with two cards behind a switch
    kernel: 6.19.0
    drivers: [xe, vfio-pci, xe-vfio-pci]        # loaded kernel drivers, in the order of registration
    numa: {0: 0-31, 1: 32-63}                   # NUMA node -> its CPUs
    dmem: {drm/0000:18:00.0/vram0: 17095983104} # cgroup dmem.capacity; a line shows while the card has DRM nodes
    vfio_cdev: true                             # the kernel has VFIO_DEVICE_CDEV (/dev/vfio/devices, /dev/iommu)
    vfio_noiommu: false                         # vfio takes functions without an IOMMU (enable_unsafe_noiommu_mode)
    functions:
      - bdf: 0000:18:00.0
        path: [0000:15:01.0, 0000:16:00.0]      # bridges from the root complex; undescribed ones get default ids
        vendor: 0x8086
        device: 0xe212
        class: 0x030000
        numa_node: 0
        iommu_group: 22
        sriov: {total: 7, num: 2, vf_device: 0xe212, vfs: {0: {driver_override: xe-vfio-pci}}}
        bars: {0: {size: 16777216}, 2: {size: 17179869184, prefetchable: true}}
        aer: true                               # it counts PCIe errors: aer_dev_correctable …
        attributes: {reset_method: flr bus}     # further files of the function's folder
        details: {gpu: {vram: 17095983104}}     # what a kernel driver's simulation wants to know
      - repeat: {count: 4, counters: {bus: {start: 0x20, step: 2}}}
        bdf: "0000:{bus:02x}:00.0"              # {i} counts from 0; format specifications are Python's
        …

``driver`` says what is bound when the machine is first seen: left out = whatever the kernel would bind, ``none`` =
nothing, or a driver's name. ``present: false`` is hardware that is plugged in later. Everything is checked before
anything is made; unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

BDF_PATTERN = r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"


def _inside(path: str) -> str:
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\n" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a path below the function's folder")
    return path


Bdf = Annotated[str, StringConstraints(pattern=BDF_PATTERN)]
Hex8 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{2}$")]
Hex16 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{4}$")]
Hex24 = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{6}$")]
RootComplex = Annotated[str, StringConstraints(pattern=r"^pci[0-9a-f]{4}:[0-9a-f]{2}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\n]*$")]
FilePath = Annotated[str, AfterValidator(_inside)]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Count16 = Annotated[int, Field(ge=0, le=0xFFFF)]

BRIDGE_CLASS = "0x060400"
AUTO = "auto"
NONE = "none"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Bar(_Model):
    """One base address register; ``size`` in bytes. The address is chosen by the simulator."""

    size: Annotated[int, Field(gt=0)]
    prefetchable: bool = False


class VfSpec(_Model):
    """How one virtual function differs from its siblings when the machine is first seen."""

    driver: str = AUTO
    driver_override: Line | None = None
    iommu_group: Annotated[int, Field(ge=0)] | None = None


class SriovSpec(_Model):
    """The SR-IOV capability of a physical function.

    ``total`` is the hardware's TotalVFs (a driver may lower it while bound), ``num`` how many are enabled at first,
    ``bars`` the VF BARs (size of one VF's), ``vf_attributes`` further files of each VF's folder.
    """

    total: Count16
    num: Count16 = 0
    offset: Count16 = 1
    stride: Count16 = 1
    vf_device: Hex16
    autoprobe: bool = True
    bars: dict[Annotated[int, Field(ge=0, le=5)], Bar] = {}
    vf_attributes: dict[FilePath, str] = {}
    vfs: dict[Annotated[int, Field(ge=0)], VfSpec] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.num > self.total:
            raise ValueError(f"num is {self.num} but total is {self.total}")
        if late := [index for index in self.vfs if index >= self.num]:
            raise ValueError(f"vfs describes VF {late[0]} but only {self.num} are enabled (num)")
        return self


class FunctionSpec(_Model):
    """One PCI function; ids are text as sysfs shows them (``0x8086``).

    ``aer``: it has the capability to report errors, and their counters (``aer_dev_correctable`` …).
    """

    bdf: Bdf
    root: RootComplex | None = None
    path: tuple[Bdf, ...] = ()
    vendor: Hex16 = "0x8086"
    device: Hex16
    class_: Hex24 = Field(validation_alias="class")
    revision: Hex8 = "0x00"
    subsystem_vendor: Hex16 = "0x0000"
    subsystem_device: Hex16 = "0x0000"
    numa_node: Annotated[int, Field(ge=-1)] = -1
    iommu_group: Annotated[int, Field(ge=0)] | None = None
    present: bool = True
    driver: str = AUTO
    driver_override: Line | None = None
    reset_methods: tuple[str, ...] = ("flr", "bus")
    aer: bool = False
    sriov: SriovSpec | None = None
    bars: dict[Annotated[int, Field(ge=0, le=5)], Bar] = {}
    attributes: dict[FilePath, str] = {}
    sizes: dict[FilePath, Annotated[int, Field(ge=0)]] = {}
    details: dict[str, dict[str, Any]] = {}

    @property
    def root_complex(self) -> str:
        """Name of the root complex folder, for example ``pci0000:4a``."""
        return self.root or f"pci{(*self.path, self.bdf)[0][:7]}"

    @property
    def parent(self) -> str:
        """Folder of the bridge (or root complex) above, relative to sysfs."""
        return "/".join(["devices", self.root_complex, *self.path])

    @property
    def folder(self) -> str:
        """The function's own folder, relative to sysfs."""
        return f"{self.parent}/{self.bdf}"

    @property
    def is_bridge(self) -> bool:
        """Whether the class code says PCI-to-PCI bridge."""
        return self.class_.startswith("0x0604")


class Profile(_Model):
    """A whole machine."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    description: Line = ""
    kernel: Line = "6.12.0"
    boot_id: Uuid | None = None
    drivers: tuple[str, ...] = ()
    numa: dict[Annotated[int, Field(ge=0)], Line] = {0: "0-3"}
    vfio_cdev: bool = True
    vfio_noiommu: bool = False
    dmem: dict[str, Annotated[int, Field(ge=0)]] = {}
    functions: tuple[FunctionSpec, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen: dict[str, str] = {}
        for bdf, owner in self._addresses():
            if bdf in seen:
                raise ValueError(f"{bdf} is both {seen[bdf]} and {owner}")
            seen[bdf] = owner
        _check_bridges(self.functions)
        self._check_numa()
        return self

    def _addresses(self) -> Iterator[tuple[str, str]]:
        for function in self.functions:
            yield function.bdf, f"function {function.bdf}"
            if function.sriov:
                for index in range(function.sriov.total):
                    yield vf_bdf(function, index), f"VF {index} of {function.bdf}"

    def _check_numa(self) -> None:
        for function in self.functions:
            if function.numa_node >= 0 and function.numa_node not in self.numa:
                known = ", ".join(map(str, self.numa))
                raise ValueError(f"{function.bdf}: numa_node {function.numa_node} is not in numa ({known})")

    def with_bridges(self) -> tuple[FunctionSpec, ...]:
        """Return all functions, parents before children, with default bridges where a path names undescribed ones."""
        return tuple(_with_bridges(self.functions))


def vf_bdf(pf: FunctionSpec, index: int) -> str:
    """Return the address of VF ``index``: routing id of the PF + offset + stride * index (SR-IOV specification)."""
    if pf.sriov is None:
        raise ValueError(f"{pf.bdf} has no SR-IOV capability")
    routing_id = _routing_id(pf.bdf) + pf.sriov.offset + pf.sriov.stride * index
    return f"{pf.bdf[:4]}:{routing_id >> 8:02x}:{routing_id >> 3 & 0x1F:02x}.{routing_id & 7}"


def _routing_id(bdf: str) -> int:
    bus, slot, function = int(bdf[5:7], 16), int(bdf[8:10], 16), int(bdf[11])
    return bus << 8 | slot << 3 | function


def _check_bridges(functions: Iterable[FunctionSpec]) -> None:
    places: dict[str, str] = {}
    for function in functions:
        for depth, bdf in enumerate(function.path):
            place = "/".join([function.root_complex, *function.path[:depth]])
            if places.setdefault(bdf, place) != place:
                raise ValueError(
                    f"bridge {bdf} is below {places[bdf]} and, for {function.bdf}, below {place}"
                )
    for function in functions:
        place = "/".join([function.root_complex, *function.path])
        if places.get(function.bdf, place) != place:
            raise ValueError(
                f"{function.bdf} is at {place} but others are reached through it at {places[function.bdf]}"
            )


def _with_bridges(functions: Iterable[FunctionSpec]) -> Iterator[FunctionSpec]:
    described = {function.bdf: function for function in functions}
    done: set[str] = set()
    for function in described.values():
        for depth, bdf in enumerate(function.path):
            if bdf not in done:
                done.add(bdf)
                yield described.get(bdf) or _default_bridge(function, depth)
        if function.bdf not in done:
            done.add(function.bdf)
            yield function


def _default_bridge(function: FunctionSpec, depth: int) -> FunctionSpec:
    return FunctionSpec(
        bdf=function.path[depth],
        root=function.root_complex,
        path=function.path[:depth],
        device="0x09a2",
        class_=BRIDGE_CLASS,
        numa_node=function.numa_node,
        reset_methods=(),
    )
