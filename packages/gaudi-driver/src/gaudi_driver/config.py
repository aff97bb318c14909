"""What a claim or a DeviceClass may say about a Gaudi: the opaque kinds of ``gaudi.intel.com/v1alpha1``."""

from __future__ import annotations

from typing import Annotated, Literal

from dra_common.driver import AdminOnly, ConfigKind, OpaqueParameters, Wanted
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel


class GaudiConfig(OpaqueParameters):
    """How containers use their Gaudis.

    Args:
        topology: ``connected`` refuses a claim whose Gaudis are not all connected with one another (attribute
            ``oamGroup``), ``any`` takes them as they come. A constraint ``matchAttribute`` lets the scheduler choose
            such Gaudis; this makes sure of it.
        control_nodes: whether containers get the nodes for control and monitoring, too.
        module_order: in which order ``HABANA_VISIBLE_MODULES`` names the modules: as they were allocated, like the
            other variables, or by their place on the board.
        admin_nodes: what adminAccess gives: ``control`` the node for control and monitoring, with which nobody is
            disturbed; ``all`` also the node for computing, which one process at a time can open, and that for RDMA.
    """

    model_config = ConfigDict(alias_generator=to_camel)

    topology: Literal["any", "connected"] = "any"
    control_nodes: bool = True
    module_order: Literal["allocation", "module"] = "allocation"
    admin_nodes: Annotated[Literal["control", "all"], AdminOnly()] = "control"


KIND = ConfigKind("gaudi.intel.com/v1alpha1", "GaudiConfig", GaudiConfig)


def config_of(wanted: Wanted) -> GaudiConfig:
    """Return what was asked for; without configuration, the defaults."""
    config = wanted.config.get(KIND.kind)
    return config if isinstance(config, GaudiConfig) else GaudiConfig()
