"""Markdown that docs/ is generated in: tables, and text taken out of docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells may hold Markdown, line breaks and bars are taken care of."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """Return ``text`` as code; empty stays empty."""
    return f"`{text}`" if str(text) else ""


def block(text: str, language: str = "text") -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.strip(chr(10))}\n```"


def sentence(documented: object) -> str:
    """Return the first sentence of a docstring as Markdown."""
    text = " ".join(_doc(documented).partition("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", markdown(text), maxsplit=1)[0]


def paragraphs(documented: object) -> str:
    """Return the text of a docstring as Markdown, one line for each paragraph."""
    return "\n\n".join(" ".join(markdown(part).split()) for part in _doc(documented).split("\n\n"))


def literal(documented: object, language: str) -> str:
    """Return the first ``.. code-block:: <language>`` of a docstring, without its indentation."""
    lines = _doc(documented).partition(f".. code-block:: {language}\n")[2].splitlines()
    taken: list[str] = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        taken.append(line[4:])
    if not any(taken):
        raise ValueError(f"{documented!r} has no {language} block")
    return "\n".join(taken).strip("\n")


def arguments(documented: object) -> Mapping[str, str]:
    """Return the ``Args:`` of a docstring: name -> what it says, as Markdown."""
    section = _doc(documented).partition("Args:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        match = re.fullmatch(r"    (\w+): (.*)", line)
        name, text = match.groups() if match else (next(reversed(found)), line)
        found[name] = f"{found.get(name, '')} {text.strip()}".strip()
    return {name: markdown(text) for name, text in found.items()}


def rst_table(documented: object) -> list[list[str]]:
    """Return the rows of the first simple table of a docstring, below its header, as Markdown."""
    text = inspect.cleandoc(_doc(documented))
    _, _, body, _ = re.split(r"^=+(?: +=+)+$", text, maxsplit=3, flags=re.MULTILINE)
    ruler = re.search(r"^=+(?: +=+)+$", text, flags=re.MULTILINE)
    assert ruler is not None  # noqa: S101 - the split above found it
    starts = [match.start() for match in re.finditer("=+", ruler[0])]
    spans = list(zip(starts, [*starts[1:], None], strict=True))
    return [[markdown(line[a:b].strip()) for a, b in spans] for line in body.strip().splitlines()]


def markdown(text: str) -> str:
    """Turn the little reStructuredText of docstrings into Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`")


def _doc(documented: object) -> str:
    text = inspect.getdoc(documented)
    if not text:
        raise ValueError(f"{documented!r} has no docstring")
    return text


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
