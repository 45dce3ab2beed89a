"""The error of a row that cannot be read; it holds a code, and at most the name of a column."""


class UnreadableRowError(Exception):
    """A row cannot be read.

    Raise this error outside of ``except`` blocks, because it would otherwise refer to the caught error, which may hold
    text of the row.

    Attributes:
        code: the reason.
        column: name of the column concerned, if the code does not name it; otherwise None. Show the name only if it
            came from a header, because a name that came from a row is text of that row.
    """

    def __init__(self, code: str, column: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.column = column
