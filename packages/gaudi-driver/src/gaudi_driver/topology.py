"""Which Gaudis of a machine are connected with one another, each with each.

On a server's board (OAM, eight modules) every module has links to the seven others: Gaudi one, Gaudi2 and Gaudi3 three
(Gaudi2 and Gaudi3 white papers; ports in all 10 and 24). No kernel interface tells of it; this goes by what is true of
every such board: modules of one product with places of their own, whose network is there. PCIe cards have no board.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gaudi_driver.device import Gaudi

_MODULES = 8


def with_groups(gaudis: Iterable[Gaudi]) -> list[Gaudi]:
    """Return them with their groups.

    Two modules in one place are on two boards, and nothing says which others are with which: then there is no group of
    that product.
    """
    found = list(gaudis)
    places = Counter((each.product.model, each.module_id) for each in found if _is_on_board(each))
    unclear = {model for (model, _), count in places.items() if count > 1}
    return [
        replace(each, group=_group(each) if _is_linked(each) and each.product.model not in unclear else "")
        for each in found
    ]


def _is_on_board(gaudi: Gaudi) -> bool:
    return bool(gaudi.product.internal_ports) and gaudi.module_id in range(_MODULES)


def _is_linked(gaudi: Gaudi) -> bool:
    """Whether its network works: without a node for RDMA its ports, those on the board too, cannot be used."""
    return _is_on_board(gaudi) and gaudi.usable and bool(gaudi.uverbs)


def _group(gaudi: Gaudi) -> str:
    return f"{gaudi.product.model.lower()}-0"
