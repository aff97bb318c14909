"""ResourceClaim ``status.devices``: what became of a claim's devices, told to whoever looks at the claim (KEP-4817)."""

from dra_common.claimstatus.content import Report, with_report
from dra_common.claimstatus.facts import Facts
from dra_common.claimstatus.service import TellingClaims
from dra_common.claimstatus.writer import Writer

__all__ = ["Facts", "Report", "TellingClaims", "Writer", "with_report"]
