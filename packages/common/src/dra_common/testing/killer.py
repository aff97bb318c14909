"""Ends a real driver process at a change that it makes, of a file or of hardware."""

from __future__ import annotations

import signal
from collections.abc import Callable

from dra_common.model import ClaimRef
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.mortal import Orders
from dra_common.testing.node import SimulatedNode


class Killer:
    """Starts the driver so that it follows orders, and knows what it changed.

    Args:
        node: where it runs.
        arguments: more arguments of ``run``.
    """

    def __init__(self, node: SimulatedNode, *arguments: str) -> None:
        self.node, self._arguments = node, arguments
        self._orders, self._changes = node.root / "orders", node.root / "changes"

    def order(self, orders: Orders) -> None:
        """Count anew from here, and let happen what ``orders`` say."""
        fresh = self.node.root / "orders.new"
        fresh.write_text(str(orders))
        fresh.replace(self._orders)

    def start(self) -> None:
        """Start the driver, without orders."""
        self._changes.unlink(missing_ok=True)
        self.order(Orders())
        self.node.start_driver(
            *self._arguments, mortal=(f"--orders={self._orders}", f"--count={self._changes}")
        )

    def changes(self) -> list[str]:
        """Return the changes since the last orders; none was made beside the seam."""
        lines = self._changes.read_text().splitlines()
        if beside := [line for line in lines if line.startswith("beside")]:
            raise AssertionError(beside)
        return lines

    def changes_of_hardware(self) -> range:
        """Return their numbers, for orders that count ``only`` these: other threads change files meanwhile."""
        return range(1, 1 + sum(" hardware " in line for line in self.changes()))

    def dies(self, orders: Orders, act: Callable[[ClaimRef], object], ref: ClaimRef) -> bool:
        """Whether the driver died of the orders in the call."""
        self.order(orders)
        try:
            act(ref)
        except KubeletCallError:
            if (code := self.node.wait_dead()) != -signal.SIGKILL:
                msg = f"the driver ended with {code}"
                raise AssertionError(msg) from None
            return True
        return False
