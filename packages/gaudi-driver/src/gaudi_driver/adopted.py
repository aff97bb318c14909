"""Claims that were prepared by Intel's Go driver for Gaudi: what the CDI ids stand for that it gave to containers.

``intel.com/gaudi=<device>`` is the device's nodes, ``intel.com/gaudi=<claim uid>``, which the claim's first device has,
the variables for all devices of the claim, with the hook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dra_common.model import ContainerEdits, PreparedDevice

from gaudi_driver.device import Gaudi
from gaudi_driver.policy import GaudiPolicy
from gaudi_driver.prepare import CLASS, setup, static_edits, variables

_PREFIX = f"intel.com/{CLASS}="


def edits(
    answer: Sequence[PreparedDevice], hardware: Mapping[str, Gaudi], dev_root: str, policy: GaudiPolicy
) -> Mapping[str, ContainerEdits]:
    """CDI id -> what a container gets for it now; ids of devices that have no nodes are left out."""
    found: dict[str, ContainerEdits] = {}
    devices = {f"{_PREFIX}{each.device}" for each in answer}
    for name in (name for each in answer for name in each.cdi_ids):
        if name in devices:
            gaudi = hardware.get(name.removeprefix(_PREFIX))
            found[name] = (
                static_edits(gaudi, dev_root).get(CLASS, ContainerEdits()) if gaudi else ContainerEdits()
            )
        elif name.startswith(_PREFIX):
            found[name] = _whole(answer, hardware, policy)
    return {name: made for name, made in found.items() if made}


def _whole(
    answer: Sequence[PreparedDevice], hardware: Mapping[str, Gaudi], policy: GaudiPolicy
) -> ContainerEdits:
    there = [hardware[each.device] for each in answer if each.device in hardware]
    gaudis = [gaudi for gaudi in there if gaudi.usable]
    if not gaudis:
        return ContainerEdits()
    network_file = any(gaudi.network_file for gaudi in gaudis)
    return ContainerEdits(env=variables(gaudis, gaudis)) + setup(policy, network_file=network_file)
