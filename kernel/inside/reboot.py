"""The engine before and after the power fails: a program of two lives, which kernel/boots/test_reboot.py starts.

.. code-block:: text

    python reboot.py begin FOLDER       ends with the machine
    python reboot.py finish FOLDER

FOLDER outlasts the machine. Of three cards one has a claim that is prepared, one a claim in the middle of being
unprepared; and with the third the power fails, in the middle of a prepare.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from card import Card
from dra_common import effects
from dra_common.effects import Step, Target
from dra_common.model import ClaimRef, Phase
from dra_common.pci import Binding, Setting
from dra_common.testing.mortal import die
from nicrig import NicRig

FOUND = Setting(Binding("igb"), autoprobe=True)
VFIO = Binding("vfio-pci", "vfio-pci")
VFS = Setting(Binding("igb"), autoprobe=True, vfs=(VFIO, VFIO))


class Lives:
    """The node in one of its lives."""

    def __init__(self, folder: Path) -> None:
        self.cards = [Card(index).name for index in range(3)]
        self.rig = NicRig(folder, cdi=Path("/run/cdi"))
        self.done = self.rig.nic_claim("done", self.cards[0], vfs=2, binding="vfio")
        self.going = self.rig.nic_claim("going", self.cards[1], binding="vfio")
        self.coming = self.rig.nic_claim("coming", self.cards[2], vfs=2, binding="vfio")
        self.answer = folder / "answer"
        self.boot = folder / "boot"

    def begin(self) -> None:
        """Get as far as the power does."""
        self.boot.write_text(self.rig.host.boot_id())
        self.answer.write_text(self.prepared(self.done))
        self.rig.prepare(self.going)
        self.unprepare_in_part()
        # The sixth thing that is written for it: its VFs are there, and one of them is bound.
        with interrupted(before=6, by=power_failure):
            self.rig.prepare(self.coming)

    def unprepare_in_part(self) -> None:
        """Take the driver away, no more: of the writes the first two."""

        def unprepare(process: NicRig) -> None:
            with interrupted(before=3, by=die):
                process.unprepare(self.going)

        assert self.rig.in_a_process(unprepare) == -signal.SIGKILL
        assert self.rig.setting(self.cards[1]).binding.driver == ""

    def finish(self) -> None:
        """Recover, and give everything back."""
        assert self.rig.host.boot_id() != self.boot.read_text()
        phases = [self.phase(ref) for ref in (self.done, self.going, self.coming)]
        assert phases == [Phase.PREPARED, Phase.UNPREPARING, Phase.PREPARING]
        assert not Path("/run/cdi").exists()
        done = self.rig.recover()
        assert (done.kept, sorted(done.undone)) == ([self.done.uid], [self.coming.uid, self.going.uid])
        assert [self.rig.setting(card) for card in self.cards] == [FOUND] * 3
        # The kubelet starts the same containers again, with the ids that it knows.
        assert self.prepared(self.done) == self.answer.read_text()
        assert self.rig.setting(self.cards[0]) == VFS
        self.rig.prepare(self.coming)
        for ref in (self.done, self.going, self.coming):
            self.rig.unprepare(ref)
        assert [self.rig.setting(card) for card in self.cards] == [FOUND] * 3
        assert self.rig.leftovers() == []

    def prepared(self, ref: ClaimRef) -> str:
        """The answer, and what it leads to."""
        edits = self.rig.resolve(ref)
        assert all(Path(node).exists() for node in edits.device_nodes)
        return json.dumps([sorted(edits.device_nodes), dict(edits.env)])

    def phase(self, ref: ClaimRef) -> Phase:
        record = self.rig.records.load(ref.uid)
        assert record
        return record.phase


@contextmanager
def interrupted(*, before: int, by: Callable[[], object]) -> Iterator[None]:
    """Let something happen before the so manieth change of hardware."""
    seen: list[Target] = []

    @contextmanager
    def observer(step: Step, target: Target) -> Iterator[None]:
        if step == "hardware":
            seen.append(target)
            if len(seen) == before:
                by()
        yield

    effects.observe(observer)
    yield
    effects.observe(None)


def power_failure() -> None:
    """Turn the machine off."""
    Path("/proc/sysrq-trigger").write_text("b")
    signal.pause()


if __name__ == "__main__":
    lives = Lives(Path(sys.argv[2]))
    {"begin": lives.begin, "finish": lives.finish}[sys.argv[1]]()
