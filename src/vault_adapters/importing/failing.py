"""How a reader says that a row cannot be read: by a code, never by anything of the row."""


class UnreadableRowError(Exception):
    """Raised and caught inside of this package, and always outside of handlers: the causes hold what was read.

    Attributes:
        code: why.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
