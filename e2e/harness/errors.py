"""What can go wrong on somebody's machine, said in one line."""


class HarnessError(Exception):
    """Why there is no cluster, tool or image; ``str(error)`` is one line, with the cure in parentheses."""

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message
