"""What Linux does when somebody writes to the PCI bus, as a table.

Each row names the kernel source or document that it follows.

The rows speak of an igb network card (8 VFs in hardware, 7 usable), as QEMU emulates one: ``make test-kernel`` plays
them on a real Linux 6.12. A row starts from: igb bound to the PF, no VFs, VF probing on, no overrides; igb, igbvf,
vfio-pci and pci-stub are loaded, an IOMMU is on.

Texts may hold ``{pf}``, ``{vf0}``, ``{vf1}`` (addresses) and ``{pci}`` (``bus/pci/devices``).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field

ERROR = "error"
"""As a path: a function reports a PCIe error. The value is its address, the severity, the name of the error."""

GONE = None
"""In ``reads`` and ``links``: there is no such file."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write and what follows from it.

    Args:
        path: attribute, relative to sysfs; or :data:`ERROR`.
        value: text to write.
        errno: expected refusal; 0 = success.
        reads: path -> content afterwards, without the final newline; ``path#NAME`` = what follows NAME in its line.
            None = does not exist.
        links: path -> last component of the link's target; None = does not exist.
        events: uevents of PCI functions, ``"add {vf0}"``, and what they say of an error, in order; None = any.
    """

    path: str
    value: str
    errno: int = 0
    reads: Mapping[str, str | None] = field(default_factory=dict)
    links: Mapping[str, str | None] = field(default_factory=dict)
    events: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A short story; ``source`` says where the behaviour is written down."""

    name: str
    source: str
    steps: tuple[Step, ...]


_NUMVFS = "{pci}/{pf}/sriov_numvfs"
_TOTAL = "{pci}/{pf}/sriov_totalvfs"
_AUTOPROBE = "{pci}/{pf}/sriov_drivers_autoprobe"
_PF_OVERRIDE = "{pci}/{pf}/driver_override"
_VF_OVERRIDE = "{pci}/{vf0}/driver_override"
_PF_DRIVER = "{pci}/{pf}/driver"
_VF_DRIVER = "{pci}/{vf0}/driver"
_PROBE = "bus/pci/drivers_probe"
_DRIVERS = "bus/pci/drivers"

_IOV = "drivers/pci/iov.c"
_BUS = "drivers/base/bus.c"
_PCI = "drivers/pci/pci-driver.c"
_UEVENT = "lib/kobject_uevent.c"
_SYSFS = "Documentation/ABI/testing/sysfs-bus-pci"

_UUID = "12345678-1234-1234-1234-123456789abc"

_ONE_VF = Step(_NUMVFS, "1", reads={_NUMVFS: "1"}, links={_VF_DRIVER: "igbvf"})
_ONE_UNBOUND = (Step(_AUTOPROBE, "0", reads={_AUTOPROBE: "0"}), Step(_NUMVFS, "1", links={_VF_DRIVER: GONE}))
_PF_UNBOUND = Step(f"{_DRIVERS}/igb/unbind", "{pf}", links={_PF_DRIVER: GONE})


def _refused(
    name: str, source: str, code: int, path: str, *values: str, before: tuple[Step, ...] = ()
) -> Row:
    return Row(name, source, (*before, *(Step(path, value, code) for value in values)))


NUMVFS = (
    _refused("numvfs-not-a-number", _IOV, errno.EINVAL, _NUMVFS, "x", "-1", "65536", "\n", "1 2", "0x", "09"),
    _refused("numvfs-above-total", _IOV, errno.ERANGE, _NUMVFS, "8", "100", "65535"),
    _refused("numvfs-above-total-unbound", _IOV, errno.ERANGE, _NUMVFS, "9", before=(_PF_UNBOUND,)),
    Row("numvfs-same", _IOV, (Step(_NUMVFS, "0", events=()), _ONE_VF, Step(_NUMVFS, "1", events=()))),
    Row("numvfs-same-unbound", _IOV, (_PF_UNBOUND, Step(_NUMVFS, "0", events=()))),
    _refused("numvfs-unbound", _IOV, errno.ENOENT, _NUMVFS, "1", before=(_PF_UNBOUND,)),
    _refused(
        "numvfs-driver-without-callback",
        _IOV,
        errno.ENOENT,
        _NUMVFS,
        "1",
        before=(
            Step(_PF_OVERRIDE, "pci-stub"),
            _PF_UNBOUND,
            Step(_PROBE, "{pf}", links={_PF_DRIVER: "pci-stub"}),
        ),
    ),
    _refused("numvfs-no-growth", _IOV, errno.EBUSY, _NUMVFS, "4", "1", before=(Step(_NUMVFS, "2"),)),
    _refused("numvfs-range-before-busy", _IOV, errno.ERANGE, _NUMVFS, "8", before=(Step(_NUMVFS, "2"),)),
    Row("numvfs-bases", _IOV, (Step(_NUMVFS, "0x2\n", reads={_NUMVFS: "2"}), Step(_NUMVFS, "02", events=()))),
    Row(
        "numvfs-events-probed",
        _IOV,
        (
            Step(
                _NUMVFS,
                "2",
                reads={_NUMVFS: "2"},
                links={
                    "{pci}/{pf}/virtfn0": "{vf0}",
                    "{pci}/{pf}/virtfn1": "{vf1}",
                    "{pci}/{vf1}/physfn": "{pf}",
                    _VF_DRIVER: "igbvf",
                },
                events=(
                    *("add {vf0}", "change {vf0}", "bind {vf0}"),
                    *("add {vf1}", "change {vf1}", "bind {vf1}"),
                    "change {pf}",
                ),
            ),
            Step(
                _NUMVFS,
                "0",
                reads={_NUMVFS: "0", "{pci}/{vf0}/vendor": GONE},
                links={"{pci}/{pf}/virtfn0": GONE},
                events=("unbind {vf0}", "remove {vf0}", "unbind {vf1}", "remove {vf1}"),
            ),
        ),
    ),
    Row(
        "numvfs-events-unprobed",
        _IOV,
        (
            Step(_AUTOPROBE, "0"),
            Step(_NUMVFS, "1", events=("add {vf0}", "change {vf0}", "change {pf}")),
            Step(_NUMVFS, "0", events=("remove {vf0}",)),
        ),
    ),
    Row(
        "numvfs-goes-with-the-driver",
        _IOV,
        (
            _ONE_VF,
            Step(
                f"{_DRIVERS}/igb/unbind",
                "{pf}",
                reads={_NUMVFS: "0", _TOTAL: "8", "{pci}/{vf0}/vendor": GONE},
                events=("unbind {vf0}", "remove {vf0}", "unbind {pf}"),
            ),
            Step(f"{_DRIVERS}/igb/bind", "{pf}", reads={_NUMVFS: "0", _TOTAL: "7"}, events=("bind {pf}",)),
        ),
    ),
    _refused("autoprobe-not-a-truth-value", _IOV, errno.EINVAL, _AUTOPROBE, "2", "x", "o", "\n"),
    Row(
        "autoprobe-words",
        _IOV,
        (
            Step(_AUTOPROBE, "off", reads={_AUTOPROBE: "0"}),
            Step(_AUTOPROBE, "Y\n", reads={_AUTOPROBE: "1"}),
            Step(_AUTOPROBE, "n", reads={_AUTOPROBE: "0"}),
            Step(_AUTOPROBE, "on", reads={_AUTOPROBE: "1"}),
        ),
    ),
    Row(
        "vf-has-no-remove",
        "drivers/pci/pci-sysfs.c",
        (
            _ONE_VF,
            Step("{pci}/{vf0}/remove", "1", errno.ENOENT, links={"{pci}/{pf}/virtfn0": "{vf0}"}),
            Step("{pci}/{vf0}/rescan", "1", errno.ENOENT),
        ),
    ),
    _refused(
        "msix-count-not-a-number",
        _IOV,
        errno.EINVAL,
        "{pci}/{vf0}/sriov_vf_msix_count",
        "x",
        "-1",
        before=(_ONE_VF,),
    ),
    _refused(
        "msix-count-unsupported",
        _IOV,
        errno.EOPNOTSUPP,
        "{pci}/{vf0}/sriov_vf_msix_count",
        "4",
        before=(_ONE_VF,),
    ),
)
"""Rows about SR-IOV."""

BINDING = (
    _refused("bind-unknown-device", _BUS, errno.ENODEV, f"{_DRIVERS}/igb/bind", "0000:ff:1f.7", "x", "\n"),
    _refused("bind-no-match", _BUS, errno.ENODEV, f"{_DRIVERS}/igbvf/bind", "{pf}", before=(_PF_UNBOUND,)),
    _refused("bind-bound", _BUS, errno.EBUSY, f"{_DRIVERS}/igb/bind", "{pf}", "{pf}\n"),
    _refused("bind-no-match-before-bound", _BUS, errno.ENODEV, f"{_DRIVERS}/igbvf/bind", "{pf}"),
    _refused(
        "bind-override-names-another",
        _PCI,
        errno.ENODEV,
        f"{_DRIVERS}/igb/bind",
        "{pf}",
        before=(_PF_UNBOUND, Step(_PF_OVERRIDE, "vfio-pci")),
    ),
    _refused(
        "bind-override-only",
        _PCI,
        errno.ENODEV,
        f"{_DRIVERS}/vfio-pci/bind",
        "{vf0}",
        before=_ONE_UNBOUND,
    ),
    _refused(
        "bind-vf-not-to-be-probed", _PCI, errno.ENODEV, f"{_DRIVERS}/igbvf/bind", "{vf0}", before=_ONE_UNBOUND
    ),
    _refused("unbind-not-bound-here", _BUS, errno.ENODEV, f"{_DRIVERS}/igbvf/unbind", "{pf}", "0000:ff:1f.7"),
    _refused("unbind-unbound", _BUS, errno.ENODEV, f"{_DRIVERS}/igb/unbind", "{pf}", before=(_PF_UNBOUND,)),
    Row(
        "unbind-and-bind",
        _BUS,
        (
            Step(
                f"{_DRIVERS}/igb/unbind",
                "{pf}",
                links={_PF_DRIVER: GONE, f"{_DRIVERS}/igb/{{pf}}": GONE},
                events=("unbind {pf}",),
            ),
            Step(
                f"{_DRIVERS}/igb/bind",
                "{pf}",
                links={_PF_DRIVER: "igb", f"{_DRIVERS}/igb/{{pf}}": "{pf}"},
                events=("bind {pf}",),
            ),
        ),
    ),
    _refused("probe-unknown-device", _BUS, errno.ENODEV, _PROBE, "0000:ff:1f.7", "\n"),
    Row("probe-bound", _BUS, (Step(_PROBE, "{pf}", links={_PF_DRIVER: "igb"}, events=()),)),
    Row(
        "probe-not-permitted",
        _PCI,
        (*_ONE_UNBOUND, Step(_PROBE, "{vf0}", links={_VF_DRIVER: GONE}, events=())),
    ),
    Row(
        "probe-nothing-matches",
        _BUS,
        (
            Step(_PF_OVERRIDE, "no-such-driver"),
            _PF_UNBOUND,
            Step(_PROBE, "{pf}", links={_PF_DRIVER: GONE}, events=()),
        ),
    ),
    Row(
        "bus-autoprobe-is-not-for-functions",
        "drivers/pci/bus.c",
        (
            Step("bus/pci/drivers_autoprobe", "0", reads={"bus/pci/drivers_autoprobe": "0"}),
            _ONE_VF,
            Step(_NUMVFS, "0"),
            _PF_UNBOUND,
            Step(_PROBE, "{pf}", links={_PF_DRIVER: "igb"}),
            Step("bus/pci/drivers_autoprobe", "1", reads={"bus/pci/drivers_autoprobe": "1"}),
        ),
    ),
    Row(
        "vfio-and-back",
        _PCI,
        (
            *_ONE_UNBOUND,
            Step(_VF_OVERRIDE, "vfio-pci", reads={_VF_OVERRIDE: "vfio-pci"}, events=()),
            Step(_PROBE, "{vf0}", links={_VF_DRIVER: "vfio-pci"}, events=("bind {vf0}",)),
            Step(
                _VF_OVERRIDE, "\n", reads={_VF_OVERRIDE: "(null)"}, links={_VF_DRIVER: "vfio-pci"}, events=()
            ),
            Step(f"{_DRIVERS}/vfio-pci/unbind", "{vf0}", events=("unbind {vf0}",)),
            Step(_PROBE, "{vf0}", links={_VF_DRIVER: GONE}),
            Step(_AUTOPROBE, "1"),
            Step(_PROBE, "{vf0}", links={_VF_DRIVER: "igbvf"}),
        ),
    ),
    Row(
        "override-is-only-a-wish",
        _SYSFS,
        (Step(_PF_OVERRIDE, "vfio-pci", links={_PF_DRIVER: "igb"}, events=()), Step(_PF_OVERRIDE, "\n")),
    ),
    Row("override-cut-at-newline", _SYSFS, (Step(_PF_OVERRIDE, "a\nb", reads={_PF_OVERRIDE: "a"}),)),
    Row(
        "override-lost-with-the-vf",
        _SYSFS,
        (
            *_ONE_UNBOUND,
            Step(_VF_OVERRIDE, "vfio-pci"),
            Step(_NUMVFS, "0"),
            Step(_NUMVFS, "1", reads={_VF_OVERRIDE: "(null)"}),
        ),
    ),
    _refused("override-too-long", _SYSFS, errno.EINVAL, _PF_OVERRIDE, "x" * 4095, "x" * 5000),
    _refused("new-id-not-an-id", _PCI, errno.EINVAL, f"{_DRIVERS}/vfio-pci/new_id", "8086", "x y", "\n"),
    _refused("new-id-in-the-drivers-own-table", _PCI, errno.EEXIST, f"{_DRIVERS}/igb/new_id", "8086 10c9"),
    _refused(
        "new-id-with-foreign-data", _PCI, errno.EINVAL, f"{_DRIVERS}/vfio-pci/new_id", "8086 10c9 0 0 0 0 1"
    ),
    Row(
        "new-id-covers-a-narrower-one",
        _PCI,
        (
            Step(f"{_DRIVERS}/vfio-pci/new_id", "8086 10c9"),
            Step(f"{_DRIVERS}/vfio-pci/new_id", "8086 10c9 8086 1", errno.EEXIST),
            Step(f"{_DRIVERS}/vfio-pci/remove_id", "8086 10c9"),
        ),
    ),
    Row(
        "new-id-offers-what-another-id-covers",
        _PCI,
        (
            Step(f"{_DRIVERS}/vfio-pci/new_id", "8086 10c9"),
            Step(f"{_DRIVERS}/igb/unbind", "{pf}", links={_PF_DRIVER: GONE}),
            Step(f"{_DRIVERS}/vfio-pci/new_id", "dead beef", links={_PF_DRIVER: "vfio-pci"}),
            Step(f"{_DRIVERS}/vfio-pci/remove_id", "dead beef"),
            Step(f"{_DRIVERS}/vfio-pci/remove_id", "8086 10c9"),
        ),
    ),
    _refused("remove-id-of-the-drivers-own", _PCI, errno.ENODEV, f"{_DRIVERS}/igb/remove_id", "8086 10c9"),
    _refused("remove-id-unknown", _PCI, errno.ENODEV, f"{_DRIVERS}/vfio-pci/remove_id", "dead beef"),
    Row(
        "new-id-takes-unbound-devices",
        _PCI,
        (
            _PF_UNBOUND,
            Step(
                f"{_DRIVERS}/vfio-pci/new_id",
                "8086 10c9",
                links={_PF_DRIVER: "vfio-pci"},
                events=("bind {pf}",),
            ),
            Step(f"{_DRIVERS}/vfio-pci/new_id", "8086 10c9", errno.EEXIST),
            Step(f"{_DRIVERS}/vfio-pci/unbind", "{pf}"),
            Step(f"{_DRIVERS}/vfio-pci/remove_id", "8086 10c9"),
            Step(f"{_DRIVERS}/vfio-pci/bind", "{pf}", errno.ENODEV),
        ),
    ),
)
"""Rows about drivers coming and going."""

FILES = (
    _refused("write-read-only", "fs/kernfs/file.c", errno.EACCES, "{pci}/{pf}/vendor", "0x8086"),
    _refused("write-total", "fs/kernfs/file.c", errno.EACCES, _TOTAL, "3"),
    _refused("write-missing", "open(2)", errno.ENOENT, "{pci}/{pf}/no_such_file", "1"),
    _refused(
        "write-vf-has-no-numvfs", _IOV, errno.ENOENT, "{pci}/{vf0}/sriov_numvfs", "1", before=(_ONE_VF,)
    ),
    _refused("write-folder", "open(2)", errno.EISDIR, "{pci}/{pf}", "1"),
    _refused(
        "uevent-nonsense",
        _UEVENT,
        errno.EINVAL,
        "{pci}/{pf}/uevent",
        *("nonsense", "\n", "addx", "ADD", " add", "change ", "add x", f"change {_UUID} A"),
    ),
    _refused("uevent-nonsense-for-a-driver", _UEVENT, errno.EINVAL, f"{_DRIVERS}/igb/uevent", "x", "\n"),
    Row("uevent-replay-of-a-driver", _UEVENT, (Step(f"{_DRIVERS}/igb/uevent", "add", events=()),)),
    Row(
        "uevent-replay",
        _UEVENT,
        tuple(
            Step("{pci}/{pf}/uevent", text, events=("change {pf}",))
            for text in ("change", "change\n", f"change {_UUID}", f"change {_UUID} A=1 B=two")
        ),
    ),
    _refused("reset-not-one", _SYSFS, errno.EINVAL, "{pci}/{pf}/reset", "0", "2", "x"),
    _refused("reset-method-unknown", _SYSFS, errno.EINVAL, "{pci}/{pf}/reset_method", "nonsense"),
    Row(
        "reset-method-emptied",
        _SYSFS,
        (
            Step("{pci}/{pf}/reset_method", "\n", reads={"{pci}/{pf}/reset_method": ""}),
            Step("{pci}/{pf}/reset", "1", errno.ENOTTY),
            Step("{pci}/{pf}/reset_method", "default"),
            Step("{pci}/{pf}/reset", "1"),
        ),
    ),
    _refused("remove-not-a-number", "drivers/pci/pci-sysfs.c", errno.EINVAL, "{pci}/{pf}/remove", "x", "-1"),
    Row(
        "remove-zero",
        "drivers/pci/pci-sysfs.c",
        (Step("{pci}/{pf}/remove", "0", links={_PF_DRIVER: "igb"}, events=()),),
    ),
    Row(
        "rescan-of-a-function",
        "drivers/pci/pci-sysfs.c",
        (
            Step("{pci}/{pf}/rescan", "1", links={_PF_DRIVER: "igb"}, events=()),
            Step("{pci}/{pf}/rescan", "x", errno.EINVAL),
            Step("bus/pci/rescan", "x", errno.EINVAL),
        ),
    ),
    Row(
        "remove-and-rescan",
        "drivers/pci/pci-sysfs.c",
        (
            _ONE_VF,
            Step(
                "{pci}/{pf}/remove",
                "1",
                reads={"{pci}/{pf}/vendor": GONE, "{pci}/{vf0}/vendor": GONE},
                events=("unbind {vf0}", "remove {vf0}", "unbind {pf}", "remove {pf}"),
            ),
            Step(
                "bus/pci/rescan",
                "1",
                reads={_NUMVFS: "0"},
                links={_PF_DRIVER: "igb"},
                events=("add {pf}", "bind {pf}"),
            ),
        ),
    ),
)
"""Rows about other files."""

_COR = "{pci}/{pf}/aer_dev_correctable"
_NONFATAL = "{pci}/{pf}/aer_dev_nonfatal"
_FATAL = "{pci}/{pf}/aer_dev_fatal"
_VF_NONFATAL = "{pci}/{vf0}/aer_dev_nonfatal"
_ERR = "drivers/pci/pcie/err.c"
_AER = "Documentation/ABI/testing/sysfs-bus-pci-devices-aer"
_BEGIN = "change {pf} ERROR_EVENT=BEGIN_RECOVERY DEVICE_ONLINE=0"
_DONE = "change {pf} ERROR_EVENT=SUCCESSFUL_RECOVERY DEVICE_ONLINE=1"
_FAILED = "change {pf} ERROR_EVENT=FAILED_RECOVERY DEVICE_ONLINE=0"
_VF_FAILED = "change {vf0} ERROR_EVENT=FAILED_RECOVERY DEVICE_ONLINE=0"

ERRORS = (
    Row(
        "error-corrected-only-counts",
        _AER,
        (
            Step(
                ERROR,
                "{pf} correctable RxErr",
                reads={f"{_COR}#RxErr": "1", f"{_COR}#TOTAL_ERR_COR": "1", f"{_COR}#BadTLP": "0"},
                events=(),
            ),
        ),
    ),
    Row(
        "error-recovered",
        _ERR,
        (
            Step(
                ERROR,
                "{pf} nonfatal CmpltTO",
                reads={
                    f"{_NONFATAL}#CmpltTO": "1",
                    f"{_NONFATAL}#TOTAL_ERR_NONFATAL": "1",
                    f"{_FATAL}#CmpltTO": "0",
                    f"{_COR}#TOTAL_ERR_COR": "0",
                },
                links={_PF_DRIVER: "igb"},
                events=(_BEGIN, _DONE),
            ),
        ),
    ),
    Row(
        "error-recovered-by-vfio",
        _ERR,
        (
            Step(_PF_OVERRIDE, "vfio-pci"),
            _PF_UNBOUND,
            Step(_PROBE, "{pf}", links={_PF_DRIVER: "vfio-pci"}),
            Step(ERROR, "{pf} nonfatal CmpltTO", events=(_BEGIN, _DONE)),
        ),
    ),
    Row(
        "error-of-an-unbound-function",
        _ERR,
        (
            _PF_UNBOUND,
            Step(ERROR, "{pf} nonfatal CmpltTO", reads={f"{_NONFATAL}#CmpltTO": "1"}, events=(_FAILED,)),
        ),
    ),
    Row(
        "error-beside-an-unbound-function",
        _ERR,
        (
            *_ONE_UNBOUND,
            Step(
                ERROR,
                "{pf} nonfatal CmpltTO",
                reads={f"{_NONFATAL}#CmpltTO": "1", f"{_VF_NONFATAL}#TOTAL_ERR_NONFATAL": "0"},
                events=(_BEGIN, _FAILED, _VF_FAILED),
            ),
        ),
    ),
    Row(
        "error-count-lasts-as-long-as-the-device",
        _AER,
        (
            Step(ERROR, "{pf} correctable RxErr", reads={f"{_COR}#RxErr": "1"}),
            _PF_UNBOUND,
            Step(f"{_DRIVERS}/igb/bind", "{pf}", reads={f"{_COR}#RxErr": "1"}),
            Step("{pci}/{pf}/remove", "1", reads={f"{_COR}#RxErr": GONE}),
            Step("bus/pci/rescan", "1", reads={f"{_COR}#RxErr": "0"}),
        ),
    ),
    _refused("error-of-no-device", _AER, errno.ENODEV, ERROR, "0000:ff:1f.7 correctable RxErr"),
)
"""Rows about PCIe errors."""

FOLDER, LINK, READ, WRITE, BOTH = "folder", "link", "r", "w", "rw"
FIXED = "fixed"
"""A file that Linux lets root write, and the simulated kernel does not."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What is in a folder.

    Args:
        path: relative to sysfs.
        entries: name -> what it is, of everything that the simulated kernel has.
        more: names that Linux has besides, some of them not always: nobody here asks for them.
        steps: what happens before.
    """

    name: str
    path: str
    entries: Mapping[str, str]
    more: frozenset[str] = frozenset()
    steps: tuple[Step, ...] = ()


def _entries(**kinds: str) -> Mapping[str, str]:
    return {name: kind for kind, names in kinds.items() for name in names.split()}


_FUNCTION = {
    **_entries(
        link="driver iommu_group subsystem",
        r="class device local_cpulist modalias power_state resource revision subsystem_device subsystem_vendor vendor",
        rw="driver_override reset_method uevent",
        w="reset",
        fixed="enable numa_node resource0",
    ),
    **dict.fromkeys(("aer_dev_correctable", "aer_dev_fatal", "aer_dev_nonfatal"), READ),
}
_MORE = frozenset(
    _entries(
        r="ari_enabled consistent_dma_mask_bits current_link_speed current_link_width dma_mask_bits irq local_cpus "
        "max_link_speed max_link_width",
        rw="broken_parity_status config d3cold_allowed msi_bus",
        link="firmware_node iommu",
        folder="link msi_irqs power",
    )
)
_VF_MORE = frozenset({"resource0_wc", "resource3", "resource3_wc"})
_DRIVER = _entries(link="module", w="bind new_id remove_id uevent unbind")

FOLDERS = (
    Folder(
        "pf",
        "{pci}/{pf}",
        {
            **_FUNCTION,
            **_entries(
                r="sriov_offset sriov_stride sriov_totalvfs sriov_vf_device sriov_vf_total_msix",
                rw="sriov_drivers_autoprobe sriov_numvfs",
                w="remove rescan",
                folder="net",
            ),
        },
        _MORE | {"ptp", "resource1", "resource2", "resource3", "wakeup"},
    ),
    Folder(
        "vf",
        "{pci}/{vf0}",
        {**_FUNCTION, **_entries(link="physfn", w="sriov_vf_msix_count")},
        _MORE | {"net"} | _VF_MORE,
        (_ONE_VF,),
    ),
    Folder(
        "unbound-vf",
        "{pci}/{vf0}",
        {
            **{name: kind for name, kind in _FUNCTION.items() if name != "driver"},
            **_entries(link="physfn", w="sriov_vf_msix_count"),
        },
        _MORE - {"msi_irqs"} | {"waiting_for_supplier"} | _VF_MORE,
        _ONE_UNBOUND,
    ),
    Folder(
        "port",
        "{pci}/{port}",
        {
            **{
                name: kind
                for name, kind in _FUNCTION.items()
                if not name.startswith(("aer", "iommu", "reset", "resource0"))
            },
            **_entries(w="remove rescan"),
            "{pf}": FOLDER,
        },
        _MORE
        | {f"aer_dev_{severity}" for severity in ("correctable", "nonfatal", "fatal")}
        | {f"aer_rootport_total_err_{severity}" for severity in ("cor", "nonfatal", "fatal")}
        | {f"{{port}}:pcie{service}" for service in ("001", "002", "010")}
        | {"iommu_group", "pci_bus", "reset_subordinate", "resource0"}
        | {"secondary_bus_number", "subordinate_bus_number"},
    ),
    Folder("driver", f"{_DRIVERS}/igb", {**_DRIVER, "{pf}": LINK}, frozenset({"{spare}"})),
    Folder("vfio-pci", f"{_DRIVERS}/vfio-pci", _DRIVER),
    Folder(
        "bus",
        "bus/pci",
        _entries(folder="devices drivers", rw="drivers_autoprobe", w="drivers_probe rescan"),
        frozenset({"resource_alignment", "slots", "uevent"}),
    ),
    Folder(
        "group",
        "{pci}/{pf}/iommu_group",
        _entries(folder="devices", fixed="type"),
        frozenset({"reserved_regions"}),
    ),
    Folder("group-devices", "{pci}/{pf}/iommu_group/devices", {"{pf}": LINK}),
)
"""What is in which folder."""

ROWS = (*NUMVFS, *BINDING, *FILES, *ERRORS)
"""The whole table."""
