"""Which Intel GPU has which PCI device id.

Sources: the product table that DeviceClass selectors of existing manifests were written against (35 ids, first part);
the id lists of the i915 and xe kernel drivers (``include/drm/intel/pciids.h``); marketing names as in Intel's compute
runtime. To add a product, add a line, or an id to a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN = "Unknown"

ARC_A = "Arc A-Series"
ARC_PRO_A = "Arc Pro A-Series"
ARC_B = "Arc B-Series"
ARC_PRO_B = "Arc Pro B-Series"
FLEX = "Data Center Flex"
MAX = "Data Center Max"
IRIS_XE = "Iris Xe"
INTEL_GRAPHICS = "Intel Graphics"

FAMILIES = frozenset({ARC_A, ARC_PRO_A, ARC_B, ARC_PRO_B, FLEX, MAX, IRIS_XE, INTEL_GRAPHICS, UNKNOWN})
"""Every value the attribute ``family`` may have."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a PCI device id stands for.

    Args:
        model: as published; ``Unknown`` when the id is not in the table.
        family: one of :data:`FAMILIES`.
        native_driver: the kernel driver that makes DRM nodes for it by default; empty when unknown.
        integrated: it has no memory of its own; None when unknown.
    """

    model: str = UNKNOWN
    family: str = UNKNOWN
    native_driver: str = ""
    integrated: bool | None = None


UNKNOWN_PRODUCT = Product()


def _card(model: str, family: str, driver: str) -> Product:
    return Product(model, family, driver, integrated=False)


def _chip(model: str, family: str, driver: str) -> Product:
    return Product(model, family, driver, integrated=True)


_DISCRETE: tuple[tuple[str, str, str, str], ...] = (
    # The 35 ids whose model, family and driver existing manifests rely on.
    ("Max 1550", MAX, "i915", "0b69 0bd0 0bd5"),
    ("Max 1450", MAX, "i915", "0bd6"),
    ("Max 1100", MAX, "i915", "0bd9 0bda 0bdb"),
    ("A770", ARC_A, "i915", "56a0"),
    ("A750", ARC_A, "i915", "56a1"),
    ("A580", ARC_A, "i915", "56a2"),
    ("A380", ARC_A, "i915", "56a5"),
    ("A310", ARC_A, "i915", "56a6"),
    ("A30M", ARC_PRO_A, "i915", "56b0"),
    ("A40/A50", ARC_PRO_A, "i915", "56b1"),
    ("A60M", ARC_PRO_A, "i915", "56b2"),
    ("A60", ARC_PRO_A, "i915", "56b3"),
    ("Flex 170", FLEX, "i915", "56c0"),
    ("Flex 140", FLEX, "i915", "56c1"),
    ("B580", ARC_B, "xe", "e20b"),
    ("B570", ARC_B, "xe", "e20c"),
    ("B60", ARC_PRO_B, "xe", "e211"),
    ("B50", ARC_PRO_B, "xe", "e212"),
    ("B65", ARC_PRO_B, "xe", "e222"),
    ("B70", ARC_PRO_B, "xe", "e223"),
    # The rest of what the kernel drivers know. A chip that was sold under several names, or none, has the name of
    # the chip and no family, so that no selector by family matches by guess.
    ("Max 1550VG", MAX, "i915", "0bd4"),
    ("Max 1350", MAX, "i915", "0bd7 0bd8"),
    ("Max 1100C", MAX, "i915", "0b6e"),
    ("Ponte Vecchio", MAX, "i915", "0be0 0be1 0be5"),
    ("Flex 170V", FLEX, "i915", "56c2"),
    ("A770M", ARC_A, "i915", "5690"),
    ("A730M", ARC_A, "i915", "5691"),
    ("A550M", ARC_A, "i915", "5692"),
    ("A370M", ARC_A, "i915", "5693"),
    ("A350M", ARC_A, "i915", "5694"),
    ("A570M", ARC_A, "i915", "5696"),
    ("A530M", ARC_A, "i915", "5697"),
    ("A380E", ARC_A, "i915", "56ba"),
    ("A310E", ARC_A, "i915", "56bb"),
    ("A370E", ARC_A, "i915", "56bc"),
    ("A350E", ARC_A, "i915", "56bd"),
    ("A750E", ARC_A, "i915", "56be"),
    ("A580E", ARC_A, "i915", "56bf"),
    ("Alchemist", UNKNOWN, "i915", "5695 56a3 56a4"),
    ("Iris Xe MAX", IRIS_XE, "i915", "4905 4909"),
    ("Iris Xe", IRIS_XE, "i915", "4908"),
    ("SG-18M", UNKNOWN, "i915", "4907"),
    ("DG1", UNKNOWN, "i915", "4906"),
    ("B580", ARC_B, "xe", "e209"),
    ("Battlemage", UNKNOWN, "xe", "e202 e20d e210 e216 e220 e221"),
    ("Crescent Island", UNKNOWN, "xe", "674c"),
)
"""Model, family, native driver, device ids in hexadecimal: cards, with memory of their own."""

_INTEGRATED: tuple[tuple[str, str, str, str], ...] = (
    # Of the 35 as well. The B390 and B370 are integrated: Panther Lake.
    ("B390", ARC_B, "xe", "b080 b082 b084 b086"),
    ("B370", ARC_B, "xe", "b081 b083 b085 b087"),
    ("Alder Lake-P", IRIS_XE, "i915", "4626"),
    ("Raptor Lake-P", IRIS_XE, "i915", "a7a0"),
    ("Arrow Lake-S", INTEL_GRAPHICS, "i915", "7d67"),
    # Driven by xe from the start.
    ("Nova Lake-S", INTEL_GRAPHICS, "xe", "d740 d741 d742 d743 d744 d745"),
    ("Wildcat Lake", INTEL_GRAPHICS, "xe", "fd80 fd81"),
    ("Panther Lake", INTEL_GRAPHICS, "xe", "b08f b090 b0a0 b0b0"),
    ("Lunar Lake", INTEL_GRAPHICS, "xe", "6420 64a0 64b0"),
    # Driven by i915, which keeps them although xe knows many of them behind its force_probe parameter.
    ("Arrow Lake-S", INTEL_GRAPHICS, "i915", "b640"),
    ("Arrow Lake-U", INTEL_GRAPHICS, "i915", "7d41"),
    ("Arrow Lake-H", INTEL_GRAPHICS, "i915", "7d51 7dd1"),
    ("Meteor Lake", INTEL_GRAPHICS, "i915", "7d40 7d45 7d55 7d60 7dd5"),
    ("Raptor Lake-U", IRIS_XE, "i915", "a7a1"),
    ("Raptor Lake-U", INTEL_GRAPHICS, "i915", "a721 a7a9 a7ac a7ad"),
    ("Raptor Lake-P", INTEL_GRAPHICS, "i915", "a720 a7a8 a7aa a7ab"),
    ("Raptor Lake-S", INTEL_GRAPHICS, "i915", "a780 a781 a782 a783 a788 a789 a78a a78b"),
    ("Alder Lake-N", INTEL_GRAPHICS, "i915", "46d0 46d1 46d2 46d3 46d4"),
    ("Alder Lake-P", IRIS_XE, "i915", "46a6 46a8 46aa"),
    ("Alder Lake-P", INTEL_GRAPHICS, "i915", "4628 462a 46a0 46a1 46a2 46a3 46b0 46b1 46b2 46b3"),
    ("Alder Lake-P", INTEL_GRAPHICS, "i915", "46c0 46c1 46c2 46c3"),
    ("Alder Lake-S", INTEL_GRAPHICS, "i915", "4680 4682 4688 468a 468b 4690 4692 4693"),
    ("Rocket Lake", INTEL_GRAPHICS, "i915", "4c80 4c8a 4c8b 4c8c 4c90 4c9a"),
    ("Tiger Lake", IRIS_XE, "i915", "9a40 9a49"),
    ("Tiger Lake", INTEL_GRAPHICS, "i915", "9a59 9a60 9a68 9a70 9a78 9ac0 9ac9 9ad9 9af8"),
    ("Jasper Lake", INTEL_GRAPHICS, "i915", "4e51 4e55 4e57 4e61 4e71"),
    ("Elkhart Lake", INTEL_GRAPHICS, "i915", "4541 4551 4555 4557 4570 4571"),
    ("Ice Lake", INTEL_GRAPHICS, "i915", "8a50 8a51 8a52 8a53 8a54 8a56 8a57 8a58 8a59 8a5a 8a5b 8a5c 8a5d"),
    ("Ice Lake", INTEL_GRAPHICS, "i915", "8a70 8a71"),
    (
        "Cannon Lake",
        INTEL_GRAPHICS,
        "i915",
        "5a40 5a41 5a42 5a44 5a49 5a4a 5a4c 5a50 5a51 5a52 5a54 5a59 5a5a 5a5c",
    ),
    (
        "Comet Lake",
        INTEL_GRAPHICS,
        "i915",
        "9b21 9b41 9ba2 9ba4 9ba5 9ba8 9baa 9bac 9bc2 9bc4 9bc5 9bc6 9bc8",
    ),
    ("Comet Lake", INTEL_GRAPHICS, "i915", "9bca 9bcc 9be6 9bf6"),
    ("Whiskey Lake", INTEL_GRAPHICS, "i915", "3ea0 3ea1 3ea2 3ea3 3ea4"),
    ("Coffee Lake", INTEL_GRAPHICS, "i915", "3e90 3e91 3e92 3e93 3e94 3e96 3e98 3e99 3e9a 3e9b 3e9c"),
    ("Coffee Lake", INTEL_GRAPHICS, "i915", "3ea5 3ea6 3ea7 3ea8 3ea9"),
    ("Amber Lake", INTEL_GRAPHICS, "i915", "591c 87c0 87ca"),
    ("Gemini Lake", INTEL_GRAPHICS, "i915", "3184 3185"),
    ("Kaby Lake", INTEL_GRAPHICS, "i915", "5902 5906 5908 590a 590b 590e 5912 5913 5915 5916 5917 591a 591b"),
    ("Kaby Lake", INTEL_GRAPHICS, "i915", "591d 591e 5921 5923 5926 5927 593b"),
    ("Apollo Lake", INTEL_GRAPHICS, "i915", "5a84 5a85"),
    ("Broxton", INTEL_GRAPHICS, "i915", "0a84 1a84 1a85"),
    ("Skylake", INTEL_GRAPHICS, "i915", "1902 1906 190a 190b 190e 1912 1913 1915 1916 1917 191a 191b 191d"),
    ("Skylake", INTEL_GRAPHICS, "i915", "191e 1921 1923 1926 1927 192a 192b 192d 1932 193a 193b 193d"),
    ("Cherryview", INTEL_GRAPHICS, "i915", "22b0 22b1 22b2 22b3"),
    ("Broadwell", INTEL_GRAPHICS, "i915", "1602 1606 160a 160b 160d 160e 1612 1616 161a 161b 161d 161e"),
    ("Broadwell", INTEL_GRAPHICS, "i915", "1622 1626 162a 162b 162d 162e 1632 1636 163a 163b 163d 163e"),
    ("Valleyview", INTEL_GRAPHICS, "i915", "0f30 0f31 0f32 0f33"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0402 0406 040a 040b 040e 0412 0416 041a 041b 041e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0422 0426 042a 042b 042e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0a02 0a06 0a0a 0a0b 0a0e 0a12 0a16 0a1a 0a1b 0a1e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0a22 0a26 0a2a 0a2b 0a2e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0c02 0c06 0c0a 0c0b 0c0e 0c12 0c16 0c1a 0c1b 0c1e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0c22 0c26 0c2a 0c2b 0c2e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0d02 0d06 0d0a 0d0b 0d0e 0d12 0d16 0d1a 0d1b 0d1e"),
    ("Haswell", INTEL_GRAPHICS, "i915", "0d22 0d26 0d2a 0d2b 0d2e"),
    ("Ivy Bridge", INTEL_GRAPHICS, "i915", "0152 0156 015a 0162 0166 016a"),
    ("Sandy Bridge", INTEL_GRAPHICS, "i915", "0102 0106 010a 0112 0116 0122 0126"),
    ("Ironlake", INTEL_GRAPHICS, "i915", "0042 0046"),
    ("Pineview", INTEL_GRAPHICS, "i915", "a001 a011"),
    ("G4x", INTEL_GRAPHICS, "i915", "2a42 2e02 2e12 2e22 2e32 2e42 2e92"),
    ("G33", INTEL_GRAPHICS, "i915", "29b2 29c2 29d2"),
    ("965", INTEL_GRAPHICS, "i915", "2972 2982 2992 29a2 2a02 2a12"),
    ("945", INTEL_GRAPHICS, "i915", "2772 27a2 27ae"),
    ("915", INTEL_GRAPHICS, "i915", "2582 258a 2592"),
    ("8xx", INTEL_GRAPHICS, "i915", "2562 2572 3577 3582 358e"),
)
"""The same, for graphics inside of a processor or chipset: memory is the machine's."""


def _table() -> Mapping[str, Product]:
    """Build device id -> product; an id in two lines is a mistake in this file and fails at import."""
    table: dict[str, Product] = {}
    for rows, make in ((_DISCRETE, _card), (_INTEGRATED, _chip)):
        for model, family, driver, ids in rows:
            entry = make(model, family, driver)
            for device_id in ids.split():
                if f"0x{device_id}" in table:
                    raise AssertionError(f"device id {device_id} is listed twice")
                table[f"0x{device_id}"] = entry
    return table


PRODUCTS: Mapping[str, Product] = _table()
"""Device id as sysfs prints it (``0x56c0``) -> product."""


def product(device_id: str) -> Product:
    """Return the product of a device id such as ``0x56c0``; :data:`UNKNOWN_PRODUCT` for one that is not listed."""
    return PRODUCTS.get(device_id, UNKNOWN_PRODUCT)
