"""One card for the whole run: every test gets it as it was found, and leaves it anyhow."""

from collections.abc import Iterator

import pytest
from card import Card, Uevents


@pytest.fixture(scope="session")
def _card() -> Card:
    return Card()


@pytest.fixture
def card(_card: Card) -> Card:
    _card.restore()
    return _card


@pytest.fixture
def uevents() -> Iterator[Uevents]:
    heard = Uevents()
    yield heard
    heard.close()
