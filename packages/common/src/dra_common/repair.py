"""Mends what an audit finds wrong and what is safe to mend without a word from anybody.

Safe means: no device changes hands, no hardware is touched, and nobody works on the claim. What belongs to no claim
goes first, so that it does not stand in the way of what a record says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
        work, busy = _Work(), set(report.busy)
        for uid in self._order(report):
            try:
                if not self._claim(uid, work):
                    busy.add(uid)
            except DraError as error:
                work.stopped[uid] = error
        after = self.audit.run()
        mended = tuple(finding for finding in work.done if finding not in after.findings)
        left = tuple(work.explained(finding) for finding in after.findings)
        return Repaired(mended, left, tuple(sorted(busy | set(after.busy))))

    def _order(self, report: Report) -> list[str]:
        """UIDs with something to mend: first those that have no record."""
        seen = self.audit.seen()
        uids = {finding.uid for finding in report.findings if finding.mend}
        return sorted(uids, key=lambda uid: (not seen.belongs_to_nobody(uid), uid))

    def _claim(self, uid: str, work: _Work) -> bool:
        """Mend one claim under its lock; False if somebody else has it. Raises DraError."""
        if not is_uid(uid):
            self._mend(uid, work)
            return True
        with self.audit.locks.try_claim(uid) as locked:
            if locked:
                self._mend(uid, work)
                if not self.audit.lifecycle.is_known(uid):
                    self.audit.locks.forget_claim(uid)
            return locked

    def _mend(self, uid: str, work: _Work) -> None:
        """Mend until there is nothing more to mend: a record that is put back says more of its claim."""
        before: tuple[Finding, ...] = ()
        while (found := tuple(each for each in self.audit.look(uid) if each.mend)) and found != before:
            for finding in found:
                work.mend(finding)
            before = found


@dataclass(slots=True)
class _Work:
    """What was mended, and why something was not: one thing, or all of a claim."""

    done: list[Finding] = field(default_factory=list)
    failed: dict[Finding, DraError] = field(default_factory=dict)
    stopped: dict[str, DraError] = field(default_factory=dict)

    def mend(self, finding: Finding) -> None:
        try:
            if finding.mend:
                finding.mend()
                self.done.append(finding)
        except DraError as error:
            self.failed[finding] = error

    def explained(self, finding: Finding) -> Finding:
        """Say why something is still wrong that a program could have mended."""
        error = self.failed.get(finding) or self.stopped.get(finding.uid)
        if error is None or finding.mend is None:
            return finding
        return replace(finding, text=f"{finding.text}; not mended: {error.message}", cure=error.cure)
