"""What can go wrong on somebody's machine, said in one line."""

from pathlib import Path


class GuestError(Exception):
    """Why there is no guest, or no result of it; ``str(error)`` is one line, with the cure in parentheses.

    Args:
        console: the log of the guest's kernel, where there is one.
    """

    def __init__(self, message: str, *, cure: str = "", console: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.console = console

    def __str__(self) -> str:
        words = self.message if self.console is None else f"{self.message}; console: {self.console}"
        return f"{words} ({self.cure})" if self.cure else words
