"""Starts the command line of the simulation; see `tests.simulation.command`."""

import os
import sys


def _main():
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names are iterated in the order of their hashes, which must be the same at each replay.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment)
    from tests.simulation.command import main  # not above, because the interpreter is replaced first

    return main()


if __name__ == "__main__":
    sys.exit(_main())
