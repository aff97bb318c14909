"""What is thought to be possible on divided GPUs, against which the real scheduler is held."""

from typing import Any

import pytest
from allocation.case import Dice
from allocation.hardware import Impossible, Load, Pf, Place, load_of, pfs_of, place_of
from allocation.tenants import Agency

A, B = "0000-18-00-0-0xe212", "0000-9a-00-0-0xe211"
PFS = (
    Pf(A, "0000:18:00.0", "B50", {4: 2048, 2: 4096, 1: 4096}),
    Pf(B, "0000:9a:00.0", "B60", {4: 4096, 2: 8192, 1: 8192}),
)


def claim(*devices: str) -> dict[str, Any]:
    """One that was given these; a share is ``device@id``."""
    parts = [each.partition("@") for each in devices]
    given = [{"device": name, **({"shareID": share} if share else {})} for name, _, share in parts]
    return {"metadata": {"name": "x"}, "status": {"allocation": {"devices": {"results": given}}}}


@pytest.mark.parametrize(
    ("given", "there"),
    [
        ([], {}),
        ([[A]], {A: (Place(A), 1)}),
        ([[f"{A}-vf2@1"], [f"{A}-vf2@2"]], {A: (Place(A, 2), 2)}),
        ([[f"{A}-vf2@1", B]], {A: (Place(A, 2), 1), B: (Place(B), 1)}),
    ],
)
def test_what_claims_have_is_added_up(given: list[list[str]], there: dict[str, tuple[Place, int]]) -> None:
    assert load_of(claim(*each) for each in given) == Load(there)


@pytest.mark.parametrize(
    "given",
    [
        [[A], [A]],
        [[A], [f"{A}-vf1@1"]],
        [[f"{A}-vf2@1"], [f"{A}-vf4@2"]],
        [[f"{A}-vf1@1"], [f"{A}-vf1@2"]],
        [[f"{A}-vf4@1"], [f"{A}-vf4@1"]],
        [[f"{A}-vf4"]],
        [[f"{A}@1"]],
        [[f"{A}-vf2@{number}" for number in range(3)]],
    ],
)
def test_more_than_there_is(given: list[list[str]]) -> None:
    with pytest.raises(Impossible):
        load_of(claim(*each) for each in given)


def test_what_fits() -> None:
    two = load_of([claim(f"{A}-vf2@1")])
    half, whole = frozenset({Place(A, 2)}), frozenset({Place(A), Place(B)})
    assert two.fits([half], apart=False)
    assert not two.fits([half, half], apart=False)
    assert two.fits([whole], apart=False)
    assert not two.fits([whole, whole], apart=False)
    assert two.fits([half | whole, whole], apart=False)
    assert Load({}).fits([whole, whole], apart=True)
    assert not Load({}).fits([half, half], apart=True)
    assert not two.fits([frozenset()], apart=False)


def test_what_is_published_is_read() -> None:
    whole = {name: {"string": text} for name, text in (("pciAddress", "0000:18:00.0"), ("model", "B50"))}
    devices: dict[str, Any] = {
        A: {"attributes": whole},
        f"{A}-vf4": {"attributes": {"vfMemoryMiB": {"int": 2048}}},
    }
    assert pfs_of(devices) == (Pf(A, "0000:18:00.0", "B50", {4: 2048}),)
    assert (place_of(A), place_of(f"{A}-vf4")) == (Place(A), Place(A, 4))


def test_claims_are_the_same_for_the_same_seed_and_of_every_kind() -> None:
    made = [[Agency(Dice("1"), PFS).tenant() for _ in range(1)] for _ in range(2)]
    assert made[0] == made[1]
    agency = Agency(Dice("1"), PFS)
    tenants = [agency.tenant() for _ in range(500)]
    assert len({kind for kind, _ in tenants}) == 9
    fitting = [tenant.fits(Load({})) for _, tenant in tenants]
    assert any(fitting)
    assert not all(fitting)
