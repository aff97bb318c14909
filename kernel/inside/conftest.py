"""Two cards for the whole run: every test gets them as they were found, and leaves them anyhow."""

from collections.abc import Iterator

import pytest
from card import Card, Uevents

pytest.register_assert_rewrite("pci", "table_play")


@pytest.fixture(scope="session")
def _card() -> Card:
    return Card()


@pytest.fixture
def card(_card: Card) -> Card:
    _card.restore()
    return _card


@pytest.fixture(scope="session")
def _spare() -> Card:
    return Card(1)


@pytest.fixture
def spare(_spare: Card) -> Card:
    _spare.restore()
    return _spare


@pytest.fixture
def uevents() -> Iterator[Uevents]:
    heard = Uevents()
    yield heard
    heard.close()
