"""What the published names mean: the one table behind ``docs/user/gpu-attributes.md``.

Nothing at run time reads it. Tests hold it against what is published of every simulated machine, in both directions.
"""

from __future__ import annotations

from dra_common.inventory import absent_taint, cordoned_taint, denied_taint, shared_taint
from dra_common.model import TaintEffect
from dra_common.taints import busy_taint, revert_failed_taint
from dra_common.vocabulary import TaintTerm, Term

from gpu_driver.counters import VFS
from gpu_driver.device import NO_CARD, UNBOUND_TAINT, UNEXPECTED_DRIVER_TAINT, UNHEALTHY_TAINT
from gpu_driver.driver import NAME
from gpu_driver.modes import MODE
from gpu_driver.sharing import CLIENTS

_NO_XE = "`xe` is not bound, or the GPU did not start"
_NO_ANSWER = "`xe` is not bound, or does not tell it to this process"
_MODE = "the device is a mode"
_NO_ROOT = "sysfs does not show the device below a PCI root"

ATTRIBUTES: tuple[Term, ...] = (
    Term(
        "model", "string", "Product name of the PCI device id; `Unknown` for an id that is not in the table."
    ),
    Term("family", "string", "Product family, see below; `Unknown` where the id does not tell."),
    Term(
        "type",
        "string",
        "`gpu`: a physical function or integrated graphics. `vf`: an SR-IOV virtual function, or shares that are.",
    ),
    Term(
        "mode",
        "string",
        "A GPU that is divided into so many virtual functions when a claim asks for a share: `vf4`.",
        "the device is a GPU or virtual function that is there",
    ),
    Term(
        "vfMemoryMiB",
        "int",
        "Local memory that each share of a mode has at least, in MiB.",
        "the device is no mode, or the kernel driver's rule is not known (`xe` only)",
    ),
    Term(
        "driver",
        "string",
        "Kernel driver that is bound now: `i915`, `xe`, `vfio-pci`, `xe-vfio-pci` or another; "
        "an empty string when there is none.",
        _MODE,
    ),
    Term(
        "sriov",
        "bool",
        "Virtual functions can be made now: `i915` or `xe` is bound, allows at least one, and "
        "`sriov_drivers_autoprobe` is on.",
        _MODE,
    ),
    Term(
        "integrated",
        "bool",
        "The GPU is a part of the processor and has no memory of its own; else it is a card.",
        "the model is `Unknown`",
    ),
    Term("tiles", "int", "Tiles that the GPU is made of.", _NO_XE),
    Term(
        "xeCores",
        "int",
        "Xe cores (the kernel's dual subslices) of all tiles, without those that are fused off.",
        _NO_ANSWER,
    ),
    Term("executionUnits", "int", "Execution units (vector engines) of all Xe cores.", _NO_ANSWER),
    Term(
        "driverVersion",
        "version",
        "Version of the kernel driver that is bound: the kernel's, or its own if it was built beside the kernel.",
        "neither `i915` nor `xe` is bound, or the module does not say its version",
    ),
    Term(
        "gucSubmissionVersion",
        "version",
        "Version of the interface by which the GPU's firmware (GuC) takes work; newer firmware has a newer one.",
        _NO_ANSWER,
    ),
    Term(
        "parent",
        "string",
        "PCI address of the physical function that a virtual function belongs to.",
        "the device is no virtual function",
    ),
    Term(
        "vfIndex",
        "int",
        "Number of a virtual function, from 0, as in its parent's `virtfn0`.",
        "the device is no virtual function, or its parent does not list it",
    ),
    Term(
        "health",
        "string",
        "`Healthy`, `Unhealthy`, or `Unknown`: nobody watches it (`--health-monitoring`), or who watches cannot tell.",
    ),
    Term("pciId", "string", "PCI device id."),
    Term(
        "resource.kubernetes.io/pciBusID",
        "string",
        "PCI address.",
        "its domain has more than four digits (below a VMD), which the standard does not provide for; or "
        + _MODE,
    ),
    Term(
        "resource.kubernetes.io/pcieRoot",
        "string",
        "PCI root complex; the same for devices that are near one another.",
        _NO_ROOT,
    ),
    Term(
        "resource.kubernetes.io/numaNode", "int", "NUMA node.", "the machine does not say (`numa_node` is -1)"
    ),
    Term(
        "pciAddress",
        "string",
        "Older name of `resource.kubernetes.io/pciBusID`, for existing manifests.",
        _MODE,
    ),
    Term(
        "pciRoot",
        "string",
        "Older name of `resource.kubernetes.io/pcieRoot`, its bus number only, for existing manifests.",
        _NO_ROOT,
    ),
)
"""Attributes, in the order in which they are documented."""

CAPACITIES: tuple[Term, ...] = (
    Term(
        "memory",
        "quantity",
        "Local memory in whole MiB; of a mode that of all its shares together. Integrated graphics have none of their "
        "own: `0`. Of a GPU that is shared the scheduler counts what each claim takes of it; nobody enforces it.",
        "it is not known: a card that is not on `i915` or `xe`, or whose driver tells this process nothing, and "
        "that no xpumd knows; of a virtual function on another driver, if that of its parent does not tell either",
    ),
    Term(
        "millicores",
        "quantity",
        "1000 for every device whatever its size, for existing manifests. Of a GPU that is shared the scheduler counts "
        "what each claim takes of it; nobody enforces it.",
        _MODE,
    ),
    Term(
        "vfs",
        "quantity",
        "Virtual functions of a mode; each claim on it has one, and cannot ask for more.",
        "the device is no mode",
    ),
    Term(
        CLIENTS,
        "quantity",
        "How many claims can share the GPU. Each takes 1, or as many as it asks for: who takes all is alone. Enforced "
        "by the scheduler.",
        "the GPU is not [shared](gpu-driver.md#share-a-gpu), or the cluster cannot",
    ),
)
"""Capacities, in the order in which they are documented."""

COUNTERS: tuple[Term, ...] = (
    Term(
        MODE,
        "quantity",
        "1, which the whole GPU takes, and each of its modes: it is one of them at a time.",
        "the GPU has no modes",
    ),
    Term(
        VFS,
        "quantity",
        "As many virtual functions as the GPU can have. Each that is there takes 1, the whole GPU all.",
        "the GPU has no virtual functions, or they are there for claims on a mode",
    ),
)
"""Counters of the set of a GPU, which has its name, in the order in which they are documented."""

TAINTS: tuple[TaintTerm, ...] = (
    TaintTerm(
        UNBOUND_TAINT,
        TaintEffect.NO_SCHEDULE,
        "No kernel driver is bound, and none will be for a claim: the product or its kernel driver is not there, or "
        "the driver runs with `--manage-binding=false`.",
        "it is bound to `i915` or `xe`, or can be",
    ),
    TaintTerm(
        UNEXPECTED_DRIVER_TAINT,
        TaintEffect.NO_SCHEDULE,
        "A kernel driver is bound that is not taken away for a claim: one that is neither for DRM nor for VFIO, one "
        "for VFIO with `--manage-binding=false`, or another one than the device's claim was prepared with.",
        "it is bound to `i915` or `xe`, or to what its claim needs; or that claim is gone",
        value="the kernel driver, or `none`",
    ),
    TaintTerm(
        UNHEALTHY_TAINT,
        TaintEffect.NO_EXECUTE,
        "Somebody who watches the device says that it is broken, see [health](health.md); what the effect is, is a "
        f"setting. Or the right kernel driver is bound, but made no DRM card (`{NO_CARD}`, always `NoSchedule`).",
        "it is not said any more; or it has a DRM card",
        value="what is worst, in a few words",
        other=TaintEffect.NO_SCHEDULE,
    ),
    TaintTerm(
        busy_taint(NAME).key,
        busy_taint(NAME).effect,
        "A virtual machine has it open through VFIO; or the kernel has not returned from a change of its kernel "
        "driver, which it does when whoever has it open lets go.",
        "the virtual machine ends",
    ),
    TaintTerm(
        absent_taint(NAME).key,
        absent_taint(NAME).effect,
        "The latest look at the machine did not find the device.",
        "it is found again; otherwise the device is withdrawn by the next look, or when no claim holds it any more",
    ),
    TaintTerm(
        revert_failed_taint(NAME).key,
        revert_failed_taint(NAME).effect,
        "A claim on the device could not be undone: it is not in the state that it is described in.",
        "unprepare of that claim, or recovery at start, succeeds",
    ),
    TaintTerm(
        cordoned_taint(NAME).key,
        cordoned_taint(NAME).effect,
        "An operator took the device out of use with `devices cordon`; what runs on it goes on.",
        "`devices uncordon` names it; it survives restarts, updates and reboots",
        value="the reason given, as far as a label may say it",
    ),
    TaintTerm(
        shared_taint(NAME).key,
        shared_taint(NAME).effect,
        "The configuration file does not want the GPU to be shared any more, and claims still share it.",
        "the last of these claims gives it back; from then on it is given whole",
    ),
    TaintTerm(
        denied_taint(NAME).key,
        denied_taint(NAME).effect,
        "The configuration file does not want the device to be offered (`publish: false`), and a claim still holds it.",
        "the claim gives it back, which withdraws the device, or the configuration allows it again",
    ),
)
"""Taints, in the order in which they are documented."""
