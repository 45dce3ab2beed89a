"""Run fuzz targets with random inputs. An input that breaks a promise is shrunk and kept in the target's corpus.

`python -m tests.fuzz [TARGET ...] [--seconds N]`; without names, all targets share the time.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.fuzz.mutations import inputs_of
from tests.fuzz.target import Run, Target, check
from tests.fuzz.targets import TARGETS

_ROUND = settings(
    max_examples=500,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def main() -> int:
    """Run the chosen targets; return 1 if one of them broke a promise."""
    options = _parser().parse_args()
    targets = [TARGETS[name] for name in options.names or TARGETS]
    found = [fuzz(target, options.seconds / len(targets)) for target in targets]
    return int(not all(found))


def fuzz(target: Target, seconds: float) -> bool:
    """Run a target for some seconds. If an input breaks a promise, keep the smallest such input and return False."""
    end, count = time.monotonic() + seconds, 0
    with target.opened() as run:
        while time.monotonic() < end:
            number = random.getrandbits(64)
            last: list[bytes] = []
            try:
                count += _run_round(target, run, number, last)
            except Exception:
                traceback.print_exc()
                print(f"{target.name}: {_keep(target, last[0])} breaks a promise", flush=True)
                return False
    print(f"{target.name}: {count} inputs", flush=True)
    return True


def _run_round(target: Target, run: Run, number: int, last: list[bytes]) -> int:
    """Run some inputs and return their number; after a failure, `last` holds the shrunk input, which ran last."""
    count = 0

    @seed(number)
    @_ROUND
    @given(inputs_of(target))
    def run_all(data: bytes) -> None:
        nonlocal count
        count += 1
        last[:] = [data]
        check(target, run, data)

    run_all()
    return count


def _keep(target: Target, data: bytes) -> str:
    path = target.folder / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return f"tests/fuzz/corpus/{target.name}/{path.name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=300.0, help="how long, for all targets together")
    return parser


if __name__ == "__main__":
    sys.exit(main())
