"""Sets of services: what ``cfg_services`` says, and what a PF can be told to offer.

Source: ABI document sysfs-driver-qat. A set has no order: the kernel takes any, and shows the one that was written
(up to 6.15) or its own (since 6.16). Here and in what is published there is one: ``sym;asym;dc;decomp;dcc``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from dra_common.errors import DraError

from qat_driver.kernels import Kernel
from qat_driver.products import Product

SYM, ASYM, DC, DECOMP, DCC = "sym", "asym", "dc", "decomp", "dcc"
KNOWN = (SYM, ASYM, DC, DECOMP, DCC)
"""Symmetric and asymmetric cryptography, compression, decompression, compression chained with hashing."""

_MANY = 8
"""No set that a kernel has ever shown is longer; the rest of a longer one is rubbish."""
_LONGEST = 40


class IllegalServices(DraError):
    """A PF cannot offer these services: names them, the product, why and what it could offer."""


@dataclass(frozen=True, slots=True)
class Services:
    """A set of services.

    Args:
        known: those that this driver knows.
        unknown: further tokens, each once, in the order in which they came.
    """

    known: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The canonical text of what is known, ``sym;asym``; empty = none."""
        return ";".join(service for service in KNOWN if service in self.known)

    def __contains__(self, service: str) -> bool:
        return service in self.known


def parse(text: str) -> Services:
    """Read what a kernel shows. Nothing is refused: what is not known is kept apart, to be told."""
    tokens = [token.strip() for token in text.split(";")]
    found = list(dict.fromkeys(token for token in tokens if token))
    strange = [token[:_LONGEST] for token in found if token not in KNOWN]
    return Services(frozenset(found) & frozenset(KNOWN), tuple(strange[:_MANY]))


def choose(text: str, product: Product, kernel: Kernel | None = None) -> Services:
    """Read what somebody wants of a PF. Raises IllegalServices for what the PF would not take.

    Args:
        text: service names with ``;`` between them, in any order.
        product: of the PF.
        kernel: of the machine; None = not known, any.
    """
    tokens = [token.strip() for token in text.split(";")]
    services = parse(text)
    why = _why_not_text(tokens) or _why_not(services.known, product) or _why_never(product, kernel)
    if why:
        raise _refusal(text, product, why)
    return services


def legal_sets(product: Product, kernel: Kernel | None = None) -> tuple[Services, ...]:
    """Return every set that a PF can be told to offer, the smallest first; none where there is nothing to choose.

    Args:
        product: of the PF.
        kernel: of the machine; None = not known, any.
    """
    if _why_never(product, kernel):
        return ()
    single = _choices(product)
    sets = [chosen for size in range(1, product.most_services + 1) for chosen in combinations(single, size)]
    return tuple(Services(frozenset(each)) for each in (*sets, (DCC,)))


def is_legal(services: Iterable[str], product: Product, kernel: Kernel | None = None) -> bool:
    """Whether a PF can be told to offer these."""
    return not (_why_not(frozenset(services), product) or _why_never(product, kernel))


def _choices(product: Product) -> tuple[str, ...]:
    """Return what can be combined: ``dcc`` never can."""
    return (SYM, ASYM, DC, DECOMP) if product.decompression else (SYM, ASYM, DC)


def _why_never(product: Product, kernel: Kernel | None) -> str:
    if product.services_since is None:
        return "its services are fixed"
    if kernel is not None and kernel < product.services_since:
        since = ".".join(map(str, product.services_since))
        return f"kernel {kernel[0]}.{kernel[1]} cannot choose its services; {since} and newer can"
    return ""


def _why_not_text(tokens: list[str]) -> str:
    for token in tokens:
        if token not in KNOWN:
            return f"{token[:_LONGEST]!r} is no service"
        if tokens.count(token) > 1:
            return f"{token} is there twice"
    return ""


def _why_not(services: frozenset[str], product: Product) -> str:
    """Say why a set is not for a product; empty if it is. Products without a choice are not looked at."""
    if not product.configurable:
        return ""
    if not services:
        return "no service is named"
    if DCC in services:
        return f"{DCC} goes with no other service" if len(services) > 1 else ""
    if strange := sorted(services - set(_choices(product))):
        return f"it has no service {strange[0]}"
    if len(services) > product.most_services:
        return f"{len(services)} services are too many"
    return ""


def _refusal(text: str, product: Product, why: str) -> IllegalServices:
    cure = f"leave services out for QAT {product.family}"
    if product.configurable:
        names = ", ".join(_choices(product))
        cure = f"name up to {product.most_services} of {names}, with ; between them, or {DCC} alone"
    return IllegalServices(f"services {text[:_LONGEST]!r} for QAT {product.family}: {why}", cure=cure)
