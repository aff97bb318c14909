"""Bytes where another driver's claims should be: refused, or claims of which everything was looked at."""

from __future__ import annotations

import re
from pathlib import Path

from dra_common.checkpoint import decode_checkpoint
from dra_common.errors import CheckpointError
from properties.base import DEEP, Property, damaged

GOLDEN = Path(__file__).parent.parent / "golden" / "checkpoint"
SEEDS = (*(path.read_bytes() for path in sorted(GOLDEN.iterdir())), DEEP)
KINDS = ("intel.com/gpu", "intel.com/gaudi", "intel.com/qat")
SAFE = re.compile(r"[A-Za-z0-9-]+")
ID = re.compile(r"(intel\.com/(gpu|gaudi|qat))=[A-Za-z0-9_.:-]+")


def check(data: bytes) -> None:
    try:
        checkpoint = decode_checkpoint(data, "gpu.intel.com", KINDS)
    except CheckpointError as error:
        assert error.message.isprintable()
        assert len(error.message) < 400
        return
    assert decode_checkpoint(data, "gpu.intel.com", KINDS) == checkpoint
    for claim in checkpoint.claims:
        if claim.problem:
            assert claim.problem.isprintable()
            assert not claim.devices
            continue
        assert SAFE.fullmatch(claim.uid)
        for device in claim.devices:
            answer = device.answer
            assert SAFE.fullmatch(answer.device)
            assert answer.share_id is None or SAFE.fullmatch(answer.share_id)
            assert all(ID.fullmatch(name) for name in answer.cdi_ids)


PROPERTY = Property("checkpoints", damaged(SEEDS), check, seeds=SEEDS, raw=True)
