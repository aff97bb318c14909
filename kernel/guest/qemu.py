"""The command line of QEMU: which hardware the guest has.

Source: the manual page qemu-system-x86_64(1), and QEMU's documents of igb and intel-iommu.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from guest.parts import Parts

# A network card with SR-IOV behind a port with access control (ACS), so that each function has an IOMMU group of its
# own; one behind a port without, where all are one group. A display with card and render node behind a switch; one
# with a card only, and a free slot for it.
DEVICES = (
    "pcie-root-port,id=port1,chassis=1,slot=1",
    "igb,bus=port1,id=igb0",
    "pcie-root-port,id=port9,chassis=9,slot=9,disable-acs=on",
    "igb,bus=port9,id=igb1",
    "pcie-root-port,id=port2,chassis=2,slot=2",
    "x3130-upstream,bus=port2,id=up0",
    "xio3130-downstream,bus=up0,id=down0,chassis=3,slot=3",
    "virtio-gpu-pci,bus=down0,id=gpu0",
    "pcie-root-port,id=port4,chassis=4,slot=4",
    "bochs-display,bus=port4,id=bochs0",
    "pcie-root-port,id=port5,chassis=5,slot=5,mem-reserve=32M",
)
# q35 with an IOMMU. Software emulation always: KVM is not on every machine, and where it is a software variant
# Debian's kernels do not start. Nehalem starts cold code faster than newer models.
# One processor: the emulated timer of a second one stands still now and then, and two guests fill a small machine.
MACHINE = """
    -nodefaults -no-user-config -no-reboot -display none
    -machine q35,kernel-irqchip=split -accel tcg,thread=multi,tb-size=512
    -cpu Nehalem -smp 1 -m 2G
    -device intel-iommu,intremap=on,caching-mode=on
"""
# panic=-1: the guest restarts at once when its kernel panics, and with -no-reboot that ends QEMU. no_timer_check: on a
# busy machine the timer ticks too late for the kernel's test of it, which panics.
APPEND = """
    console=ttyS0 8250.nr_uarts=3 panic=-1 oops=panic intel_iommu=on no_timer_check quiet
    mitigations=off audit=0 apparmor=0 selinux=0 nokaslr tsc=reliable random.trust_cpu=on cryptomgr.notests
"""


def command(
    parts: Parts, folder: Path, devices: Sequence[str], shares: Mapping[str, Path], *, terminal: bool = False
) -> list[str]:
    """Give the command that boots ``folder/initramfs`` and shares the folder with the guest as its output.

    Serial ports of the guest: console (to ``folder/console``), QEMU's monitor, and with ``terminal`` that of the user.
    """
    tools = parts.tools / "usr"
    words = [str(tools / "bin" / "qemu-system-x86_64"), *MACHINE.split()]
    for data in ("share/qemu", "share/seabios", "lib/ipxe/qemu"):
        words += ["-L", str(tools / data)]
    words += ["-kernel", str(parts.kernel / "vmlinuz"), "-initrd", str(folder / "initramfs")]
    words += ["-append", " ".join(APPEND.split())]
    words += [*_share("machine", Path("/"), ",readonly=on"), *_share("out", folder)]
    for tag, path in shares.items():
        words += _share(tag, path)
    words += [*_ports(folder), *(["-chardev", "stdio,id=shell,signal=off"] if terminal else [])]
    words += ["-serial", "chardev:shell" if terminal else "null"]
    for device in devices:
        words += ["-device", device]
    return words


def _share(tag: str, path: Path, more: str = "") -> list[str]:
    comma = str(path).replace(",", ",,")
    # remap: / may hold other file systems, whose inode numbers would be taken for its own.
    backend = f"local,id={tag},path={comma},security_model=none,multidevs=remap{more}"
    return ["-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _ports(folder: Path) -> list[str]:
    comma = str(folder / "console").replace(",", ",,")
    # One end of the socket is the monitor, the other the guest's second port. Abstract: paths of sockets are short.
    socket = f"path=dra-drivers-guest-{os.getpid()}-{folder.stat().st_ino},abstract=on"
    return [
        *("-chardev", f"file,id=console,path={comma}", "-serial", "chardev:console"),
        *(
            "-chardev",
            f"socket,id=monitor,{socket},server=on,wait=off",
            "-mon",
            "chardev=monitor,mode=readline",
        ),
        *("-chardev", f"socket,id=port,{socket}", "-serial", "chardev:port"),
    ]
