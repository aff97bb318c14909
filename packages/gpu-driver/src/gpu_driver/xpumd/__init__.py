"""Health of GPUs as xpumd knows it, the daemon of Intel XPU Manager."""

from gpu_driver.xpumd.source import XpumdSource

__all__ = ["XpumdSource"]
