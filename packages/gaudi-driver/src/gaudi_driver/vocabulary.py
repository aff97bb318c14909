"""What the published names mean: the one table behind ``docs/user/gaudi-attributes.md``.

Nothing at run time reads it. Tests hold it against what is published of every simulated machine, in both directions.
"""

from __future__ import annotations

from dra_common.inventory import absent_taint, cordoned_taint, denied_taint
from dra_common.model import TaintEffect
from dra_common.vocabulary import TaintTerm, Term

from gaudi_driver.device import NO_NODE, UNBOUND_TAINT, UNEXPECTED_DRIVER_TAINT, UNHEALTHY_TAINT
from gaudi_driver.driver import NAME

_NO_DRIVER = "`habanalabs` is not bound, or does not tell it"
_NO_HLML = "Habana's management library is not there, does not answer, or health is not watched"

ATTRIBUTES: tuple[Term, ...] = (
    Term(
        "model",
        "string",
        "`Gaudi`, `Gaudi2` or `Gaudi3`; `Unknown` for a PCI device id that is not in the table.",
    ),
    Term("family", "string", "`Gaudi` for all of them."),
    Term("type", "string", "`gaudi` for all of them."),
    Term(
        "deviceType", "string", "What the kernel driver calls the product: `GAUDI2`, `GAUDI2C`.", _NO_DRIVER
    ),
    Term(
        "driver",
        "string",
        "Kernel driver that is bound now: `habanalabs` or another; an empty string when there is none.",
    ),
    Term(
        "driverVersion",
        "version",
        "Version of the kernel driver that is bound: the kernel's, or its own if it was built beside the kernel.",
        "`habanalabs` is not bound, or the module does not say its version",
    ),
    Term("firmwareVersion", "version", "Version of the firmware that runs on the device.", _NO_DRIVER),
    Term("moduleId", "int", "Place on the server's board, from 0.", _NO_DRIVER),
    Term(
        "oamGroup",
        "string",
        "Gaudis of one value are connected with one another, each with each: for a constraint with `matchAttribute`. "
        "All modules on a server's board are, as long as their network is there.",
        "the Gaudi is a PCIe card or of an unknown product, its kernel driver has no network, or two of the machine "
        "have the same place on a board",
    ),
    Term(
        "externalPorts",
        "int",
        "Network ports that lead out of the server.",
        "the kernel driver has no network",
    ),
    Term("serial", "string", "Serial number; an empty string while it is not known: " + _NO_HLML + "."),
    Term("uuid", "string", "Habana's identifier of the device.", _NO_HLML),
    Term(
        "health",
        "string",
        "`Healthy`, `Unhealthy`, or `Unknown`: nobody watches it (`--health-monitoring`), or who watches cannot tell.",
    ),
    Term("healthy", "bool", "Older form of `health`, for existing manifests: false if that is `Unhealthy`."),
    Term("pciId", "string", "PCI device id."),
    Term(
        "resource.kubernetes.io/pciBusID",
        "string",
        "PCI address.",
        "its domain has more than four digits, which the standard does not provide for",
    ),
    Term(
        "resource.kubernetes.io/pcieRoot",
        "string",
        "PCI root complex; the same for devices that are near one another.",
        "sysfs does not show the device below a PCI root",
    ),
    Term(
        "resource.kubernetes.io/numaNode", "int", "NUMA node.", "the machine does not say (`numa_node` is -1)"
    ),
    Term(
        "pciRoot",
        "string",
        "Older name of `resource.kubernetes.io/pcieRoot`, its bus number only, for existing manifests.",
        "sysfs does not show the device below a PCI root",
    ),
)
"""Attributes, in the order in which they are documented."""

CAPACITIES: tuple[Term, ...] = (
    Term(
        "memory",
        "quantity",
        "High bandwidth memory in whole MiB, as the product has it.",
        "the product is not known, and Habana's management library does not tell it either",
    ),
)
"""Capacities, in the order in which they are documented."""

TAINTS: tuple[TaintTerm, ...] = (
    TaintTerm(UNBOUND_TAINT, TaintEffect.NO_SCHEDULE, "No kernel driver is bound.", "`habanalabs` is bound"),
    TaintTerm(
        UNEXPECTED_DRIVER_TAINT,
        TaintEffect.NO_SCHEDULE,
        "Another kernel driver than `habanalabs` is bound; this driver never changes that.",
        "`habanalabs` is bound",
        value="the kernel driver",
    ),
    TaintTerm(
        UNHEALTHY_TAINT,
        TaintEffect.NO_EXECUTE,
        "Somebody who watches the device says that it is broken, see [health](health.md); what the effect is, is a "
        f"setting. Or `habanalabs` is bound, but made no device node (`{NO_NODE}`, always `NoSchedule`).",
        "it is not said any more; or it has a device node",
        value="what is worst, in a few words",
        other=TaintEffect.NO_SCHEDULE,
    ),
    TaintTerm(
        absent_taint(NAME).key,
        absent_taint(NAME).effect,
        "The latest look at the machine did not find the device.",
        "it is found again; otherwise the device is withdrawn by the next look, or when no claim holds it any more",
    ),
    TaintTerm(
        cordoned_taint(NAME).key,
        cordoned_taint(NAME).effect,
        "An operator took the device out of use with `devices cordon`; what runs on it goes on.",
        "`devices uncordon` names it; it survives restarts, updates and reboots",
        value="the reason given, as far as a label may say it",
    ),
    TaintTerm(
        denied_taint(NAME).key,
        denied_taint(NAME).effect,
        "The configuration file does not want the device to be offered (`publish: false`), and a claim still holds it.",
        "the claim gives it back, which withdraws the device, or the configuration allows it again",
    ),
)
"""Taints, in the order in which they are documented."""
