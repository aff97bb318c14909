"""BARs: the ``resource`` file and the sizes of ``resourceN`` files.

Addresses are made up; sizes and flags are what readers look at. An endpoint has 13 lines (0-5 BARs, 6 ROM, 7-12 VF
BARs, each as large as one VF's times the hardware's TotalVFs), a bridge 17.
"""

from __future__ import annotations

from collections.abc import Mapping

from dra_common.simulate.profile import Bar, FunctionSpec

_EMPTY = (0, 0, 0)
_ENDPOINT_LINES = 13
_BRIDGE_LINES = 17
_FIRST_VF_BAR = 7
_MEMORY_64 = 0x0000000000140204
_PREFETCHABLE_64 = 0x000000000014220C
_WINDOW = 1 << 42
"""Each function has its own window of 4 TiB, so that ranges never overlap."""


def text(spec: FunctionSpec) -> str:
    """Return the lines ``start end flags``."""
    count = _BRIDGE_LINES if spec.is_bridge else _ENDPOINT_LINES
    lines = [_EMPTY] * count
    address = _first_address(spec)
    for index, bar in _all_bars(spec).items():
        # A BAR is aligned to its size.
        start = -(-address // bar.size) * bar.size
        lines[index] = (start, start + bar.size - 1, _PREFETCHABLE_64 if bar.prefetchable else _MEMORY_64)
        address = start + bar.size
    return "\n".join(f"0x{start:016x} 0x{end:016x} 0x{flags:016x}" for start, end, flags in lines)


def sizes(spec: FunctionSpec) -> dict[str, int]:
    """Return file name -> size: ``resourceN``, and ``resourceN_wc`` for prefetchable memory."""
    plain = {f"resource{index}": bar.size for index, bar in spec.bars.items()}
    combining = {f"resource{index}_wc": bar.size for index, bar in spec.bars.items() if bar.prefetchable}
    return {**plain, **combining}


def _all_bars(spec: FunctionSpec) -> Mapping[int, Bar]:
    bars = dict(spec.bars)
    if spec.sriov:
        for index, bar in spec.sriov.bars.items():
            whole = bar.size * max(1, spec.sriov.total)
            bars[_FIRST_VF_BAR + index] = Bar(size=whole, prefetchable=bar.prefetchable)
    return bars


def _first_address(spec: FunctionSpec) -> int:
    bus, slot, function = int(spec.bdf[5:7], 16), int(spec.bdf[8:10], 16), int(spec.bdf[11])
    return _WINDOW * (1 + (bus << 8 | slot << 3 | function))
