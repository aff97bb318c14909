"""What an operator decides for the GPUs of a cluster: the driver's configuration file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from dra_common.pci.match import PciMatch
from dra_common.policy import (
    DevicePolicy,
    DriverPolicy,
    Flag,
    HealthPolicy,
    Joined,
    Patterns,
    PolicyKind,
    PolicyModel,
    laid_over,
    matches,
)
from pydantic import AfterValidator, Field, model_validator

from gpu_driver.device import Gpu
from gpu_driver.sharing import Sharing

MOST_VFS = 63
"""Of any GPU so far."""


class GpuMatch(PciMatch):
    """Which GPUs: those of which everything that is given here is true; without anything, all of them.

    Args:
        model: attribute `model`, such as `Flex 170`.
        family: attribute `family`, such as `Arc Pro B-Series`.
        type: `gpu` for physical functions and integrated graphics, `vf` for virtual functions.
    """

    model: Patterns | None = None
    family: Patterns | None = None
    type: Literal["gpu", "vf"] | None = None

    def covers(self, gpu: Gpu) -> bool:
        """Whether a GPU is one of them."""
        facts = ((self.model, gpu.product.model), (self.family, gpu.product.family))
        fits = all(patterns is None or matches(patterns, fact) for patterns, fact in facts)
        return fits and self.type in (None, gpu.kind) and self.is_at(gpu.bdf, gpu.device_id)


class GpuHealthPolicy(HealthPolicy):
    """What becomes of a GPU that is unhealthy, where health is watched.

    Args:
        effect: of the taint `gpu.intel.com/unhealthy`: `NoExecute` evicts the pods that use it, `NoSchedule` only keeps
            new ones away, `none` = no taint. Without it, as `--health-taint` says.
    """


def _once(modes: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(modes)) != len(modes):
        raise ValueError("each number of virtual functions may be given once")
    return tuple(sorted(modes))


class GpuVfProfile(PolicyModel):
    """How the time of a divided GPU is given to its virtual functions; what is left out stays as it was found.

    Only `xe` of Linux 6.19 and newer lets it be set. With another kernel driver the GPU is divided without it, and the
    log says so once.

    Args:
        exec_quantum_ms: how long, in milliseconds, a virtual function may use the GPU before it is another one's turn;
            0 = without limit.
        preempt_timeout_us: how long, in microseconds, work that does not yield after that is waited for before the
            virtual function is reset; 0 = without limit.
        sched_priority: `low` gives turns only to virtual functions that have work, `normal` to each, also to one that
            has none, so that all get the same time whatever the others do.
    """

    exec_quantum_ms: Annotated[int, Field(ge=0, le=100_000)] | None = None
    preempt_timeout_us: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    sched_priority: Literal["low", "normal"] | None = None


class GpuSriovPolicy(PolicyModel):
    """Into how many virtual functions a GPU may be divided for claims.

    Args:
        modes: each number of virtual functions that claims may have it divided into. Each is offered as a device of its
            own, beside the whole GPU; the first claim on one of them decides until the last is gone. Needs
            `manageBinding`.
        profile: how its time is given to them. It is set when the first claim has them made, and is as it was found
            when the last claim is gone; a change is for GPUs that are divided after it.
    """

    modes: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MOST_VFS)], ...], Field(max_length=16), AfterValidator(_once)
    ] = ()
    profile: GpuVfProfile | None = None

    def settings(self) -> dict[str, str]:
        """Return what the profile sets, by the names that the kernel has: those of the fields in Python."""
        fields = self.profile.model_dump(exclude_none=True) if self.profile else {}
        return {name: str(value) for name, value in fields.items()}


class GpuDevicePolicy(DevicePolicy):
    """What holds for one GPU.

    Args:
        publish: whether the GPU is offered to claims. One that a claim holds stays in its ResourceSlice, with the taint
            `gpu.intel.com/denied`, until it is given back.
        health: what becomes of it when it is unhealthy.
        sharing: several claims can have it at once; without it, one has all of it. Excludes `sriov`.
        sriov: whether it may be divided into virtual functions.
    """

    health: GpuHealthPolicy = GpuHealthPolicy()
    sharing: Sharing | None = None
    sriov: GpuSriovPolicy = GpuSriovPolicy()

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.sharing is not None and self.sriov.modes:
            raise ValueError("a GPU cannot be both shared (`sharing`) and divided (`sriov`)")
        return self


class GpuRule(GpuDevicePolicy):
    """What holds for some GPUs; of several rules about a GPU, each field is as the last one says that has it.

    Args:
        match: which GPUs.
    """

    match: GpuMatch


class GpuPolicy(DriverPolicy):
    """What an operator decides for the GPU driver.

    Args:
        manage_binding: whether kernel drivers are changed for claims that need another one (DRM or VFIO).
        xpumd_socket: the socket of the node's xpumd (2.0 or newer), which watches the GPUs' health; read at the start.
        devices: rules for GPUs; those of sections in `nodes` come after those at the top.
    """

    manage_binding: Annotated[
        bool,
        Flag(
            ("--manage-binding/--no-manage-binding", "-b"),
            "MANAGE_BINDING",
            "Change the kernel drivers of GPUs for claims that need another one (DRM or VFIO).",
        ),
    ] = True
    xpumd_socket: Annotated[
        str,
        Field(pattern=r"^/[^\x00-\x1f]*$"),
        Flag(
            ("--xpumd-socket", "-x"),
            "XPUMD_SOCKET",
            "Socket of the node's xpumd (2.0 or newer), which watches the GPUs' health.",
        ),
    ] = "/run/xpumd/intelxpuinfo.sock"
    devices: Annotated[tuple[GpuRule, ...], Joined(), Field(max_length=1000)] = ()

    def of(self, gpu: Gpu) -> GpuDevicePolicy:
        """Return what holds for one GPU."""
        return laid_over(GpuDevicePolicy(), (rule for rule in self.devices if rule.match.covers(gpu)))


KIND = PolicyKind("config.gpu.intel.com/v1alpha1", "GpuDriverConfig", GpuPolicy)
