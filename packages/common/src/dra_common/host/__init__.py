"""The kernel interfaces of this machine as real files. Everything is read below roots that are settings."""

from dra_common.host.real import RealHost, Roots
from dra_common.host.tree import FileTree

__all__ = ["FileTree", "RealHost", "Roots"]
