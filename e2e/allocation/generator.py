"""Cases from a seed."""

from allocation.case import Case, Dice, Traits
from allocation.inventories import inventory
from allocation.wishes import Market, classes, steps


def generate(seed: str, number: int, traits: Traits) -> Case:
    """Give the case of this number; the same for the same seed."""
    dice = Dice(f"{seed}/{number}")
    node = f"a{number:03}"
    drivers = [f"{letter}.{node}.example.com" for letter in "gn"[: dice.choice((1, 1, 2))]]
    made = classes(dice, node, drivers, traits)
    market = Market(drivers, [each["metadata"]["name"] for each in made], traits)
    slices = inventory(dice, node, drivers, traits)
    return Case(node, tuple(slices), tuple(made), tuple(steps(dice, market)))
