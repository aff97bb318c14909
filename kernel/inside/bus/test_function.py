"""The tests of the simulated kernel, on this one."""

from pci.test_function import *  # noqa: F403 - every test, with the world of this folder
