"""What a claim or a DeviceClass may say about a GPU: the opaque kinds of ``gpu.intel.com/v1alpha1``."""

from __future__ import annotations

from typing import Annotated, Literal

from dra_common.driver import AdminOnly, ConfigKind, OpaqueParameters, Wanted
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

VFIO_CLASS = "gpu-vfio.intel.com"
"""The DeviceClass that means VFIO by its name alone, as it does for Intel's Go driver."""

Iommu = Literal["legacy", "iommufd", "both"]
Node = Literal["card", "render"]


class GpuConfig(OpaqueParameters):
    """How the container uses its GPU.

    Args:
        binding: ``drm`` for the kernel's own driver, ``vfio`` for a virtual machine; by default DRM, but VFIO in the
            class ``gpu-vfio.intel.com``.
        iommu: with VFIO, the nodes of IOMMU groups, those of IOMMUFD, or both as far as the kernel has them.
        nodes: with DRM, which device nodes of the GPU the container gets.
        render_node: with DRM, the name of its render node in the container, whatever it is on the host; for one GPU a
            request.
        reset: ``flr`` resets the GPU when the claim is gone, before anybody else can have it.
        keep_binding: the kernel driver stays as it is when the claim is gone, instead of the one found before.
        allow_shared_group: VFIO although other devices are in the same IOMMU group, which the virtual machine could
            then reach.
    """

    model_config = ConfigDict(alias_generator=to_camel)

    binding: Literal["drm", "vfio"] | None = None
    iommu: Iommu = "both"
    nodes: Annotated[tuple[Node, ...], Field(min_length=1)] = ("card", "render")
    render_node: Annotated[str, Field(pattern=r"^renderD1(2[89]|[3-8][0-9]|9[01])$")] | None = None
    reset: Annotated[Literal["flr", "none"], AdminOnly()] = "none"
    keep_binding: Annotated[bool, AdminOnly()] = False
    allow_shared_group: Annotated[bool, AdminOnly()] = False


KIND = ConfigKind("gpu.intel.com/v1alpha1", "GpuConfig", GpuConfig)


def config_of(wanted: Wanted) -> GpuConfig:
    """Return what was asked for; without configuration, the defaults."""
    config = wanted.config.get(KIND.kind)
    return config if isinstance(config, GpuConfig) else GpuConfig()


def wants_vfio(wanted: Wanted) -> bool:
    """Whether the container is a virtual machine that gets the whole function."""
    binding = config_of(wanted).binding
    return wanted.device_class == VFIO_CLASS if binding is None else binding == "vfio"
