"""The Markdown pages of the project, for the tests that hold them true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("packages/*/*.md"),
        *ROOT.glob("packages/*/src/**/*.md"),
        *ROOT.glob("deployments/*/chart/*.md"),
    ]
)

_FENCE = re.compile(r"((?:<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- (.*) -->")
_GENERATED = re.compile(r"<!-- generated: (\S+) -->.*?<!-- end: \1 -->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the comments right above it."""

    page: str
    line: int
    language: str
    text: str
    comments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            str(page.relative_to(ROOT)),
            text[: match.start(3)].count("\n"),
            match[2],
            match[3],
            tuple(_COMMENT.findall(match[1])),
        )
        for match in _FENCE.finditer(text)
        if match[2] in languages
    ]


def handwritten(page: Path) -> str:
    """Return a page's text without its generated parts and its fenced blocks."""
    return _FENCE.sub("", _GENERATED.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """Return where links into the page may lead, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield file and anchor of every link to something in this repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", handwritten(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def messages() -> Mapping[str, str]:
    """Return the texts of the page of errors: shape -> heading it stands under."""
    found: dict[str, str] = {}
    heading = ""
    for line in (DOCS / "user/errors.md").read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif match := re.fullmatch(r"- `(.+)`", line):
            found[match[1]] = heading
    return found


def fits(shape: str, text: str) -> bool:
    """Whether ``text`` is what ``shape`` says, with something for everything in angle brackets; a cure may follow."""
    parts = (re.escape(part) for part in re.split(r"<[^<>]+>", shape))
    return re.fullmatch(rf"{'.+?'.join(parts)}(?: \(.+\))?", text, flags=re.DOTALL) is not None
