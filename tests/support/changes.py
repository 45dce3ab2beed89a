"""Tells which change of an account a store is asked for."""


def name_of(method, arguments):
    """Return the name of a method of `Accounts`; for `change`, that of the use case's method that decides.

    Args:
        method: the name of the method that was called.
        arguments: its positional arguments.
    """
    if method != "change":
        return method
    decide = arguments[1]
    if hasattr(decide, "__self__"):  # the memory is told of the rows
        decide = decide.__self__._decide
    if decide.__qualname__.startswith("AttemptLedger._change"):
        (decide,) = (cell.cell_contents for cell in decide.__closure__)
    return decide.__qualname__.split(".")[1]
