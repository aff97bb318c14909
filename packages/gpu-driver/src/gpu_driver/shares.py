"""Which GPUs are published for several claims at once."""

from __future__ import annotations

from dra_common.model import Device

from gpu_driver.device import Gpu, to_device
from gpu_driver.policy import GpuPolicy
from gpu_driver.sharing import share


class Shares:
    """Devices as several claims can have them at once, or one alone, as the policy says.

    The kernel driver of a GPU that is shared is never changed: what one claim needs would be taken from the others.
    """

    def __init__(self, policy: GpuPolicy) -> None:
        self._policy = policy
        self._misfits: list[str] = []

    @property
    def problems(self) -> tuple[str, ...]:
        """Return which devices cannot be shared as the policy says, and why; one claim gets all of such a device."""
        return tuple(self._misfits)

    def offer(self, gpu: Gpu) -> Device:
        """Return the device as it is published."""
        sharing = self._policy.of(gpu).sharing
        device = to_device(gpu, manage=self._policy.manage_binding and sharing is None)
        if sharing is None:
            return device
        try:
            return share(device, sharing)
        except ValueError as error:
            self._misfits.append(f"device {gpu.name} is not shared as the configuration says: {error}")
            return device
