"""Kernel modules that must be there before the root file system is.

Source: modules.dep(5): a module, a colon, the modules it needs, each after those that need it.
"""

import lzma
from collections.abc import Iterable
from pathlib import Path

from guest.errors import GuestError

# The root file system: 9p over virtio, below an overlay.
NAMES = ("9pnet_virtio", "9p", "overlay")


def load_order(folder: Path, names: Iterable[str]) -> list[Path]:
    """Give the files of these modules and of all they need, in the order to load them; built-in ones are left out.

    ``folder`` is ``lib/modules/RELEASE``. Raises ``GuestError`` for a module that the kernel does not have.
    """
    needs = _table(folder / "modules.dep")
    built_in = {_module(line) for line in (folder / "modules.builtin").read_text().split()}
    order: dict[str, None] = {}
    for name in names:
        if name in needs:
            order |= dict.fromkeys(reversed(needs[name]))
        elif name not in built_in:
            raise GuestError(f"kernel {folder.name} has no module {name}", cure="use another kernel")
    return [folder / path for path in order]


def _table(file: Path) -> dict[str, list[str]]:
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return {_module(path): [path, *rest.split()] for path, _, rest in lines}


def _module(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def contents(file: Path) -> bytes:
    """Give a module as ``insmod`` wants it."""
    return lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
