"""The error of a row that cannot be read; it holds a code and nothing of the row."""


class UnreadableRowError(Exception):
    """A row cannot be read. Raise it outside of handlers, because the original error would hold text of the row.

    Attributes:
        code: the reason.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
