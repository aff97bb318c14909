"""Mends what an audit finds wrong and what is safe to mend without a word from anybody.

Safe means: no device changes hands, no hardware is touched, and nobody works on the claim. What belongs to no claim
goes first, so that it does not stand in the way of what a record says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic

from dra_common.audit import Audit, Finding, Report
from dra_common.driver import H
from dra_common.errors import DraError
from dra_common.model import is_uid


@dataclass(frozen=True, slots=True)
class Repaired:
    """``left`` is what is still wrong; ``busy`` are claims that somebody works on, which were not touched."""

    mended: tuple[Finding, ...]
    left: tuple[Finding, ...]
    busy: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair(Generic[H]):
    """Repairs one node."""

    audit: Audit[H]

    def run(self) -> Repaired:
        """Look, mend, and look again. Raises StateError only if the folders cannot be listed."""
        report = self.audit.run()
        done, troubles, busy = list[Finding](), dict[str, DraError](), set(report.busy)
        for uid in self._order(report):
            try:
                if not self._claim(uid, done):
                    busy.add(uid)
            except DraError as error:
                troubles[uid] = error
        after = self.audit.run()
        left = tuple(_with(finding, troubles.get(finding.uid)) for finding in after.findings)
        return Repaired(tuple(done), left, tuple(sorted(busy | set(after.busy))))

    def _order(self, report: Report) -> list[str]:
        """UIDs with something to mend: first those that have no record."""
        seen = self.audit.seen()
        uids = {finding.uid for finding in report.findings if finding.mend}
        return sorted(uids, key=lambda uid: (not seen.belongs_to_nobody(uid), uid))

    def _claim(self, uid: str, done: list[Finding]) -> bool:
        """Mend one claim under its lock; False if somebody else has it. Raises DraError."""
        if not is_uid(uid):
            self._mend(uid, done)
            return True
        with self.audit.locks.try_claim(uid) as locked:
            if locked:
                self._mend(uid, done)
                if not self.audit.lifecycle.is_known(uid):
                    self.audit.locks.forget_claim(uid)
            return locked

    def _mend(self, uid: str, done: list[Finding]) -> None:
        for finding in tuple(self.audit.look(uid)):
            if finding.mend:
                finding.mend()
                done.append(finding)


def _with(finding: Finding, trouble: DraError | None) -> Finding:
    """Say why something was not mended."""
    if trouble is None or finding.mend is None:
        return finding
    return replace(finding, text=f"{finding.text}; not mended: {trouble.message}", cure=trouble.cure)
