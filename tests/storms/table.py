"""Measures what a caller gets during each single fault: `python -m tests.storms.table` prints the result as tables.

`--write docs/explanation/faults.md` puts the tables into that page.
"""

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

from tests.storms.peers import PEER_FAULTS, measure_peer
from tests.storms.rows import CALLS, measure_title
from tests.storms.scenes import FAULTS, SceneFault
from tests.support.processes import Call, start_processes

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.storms.table", description=__doc__)
    parser.add_argument("--only", help="measure only the faults whose title contains this text")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    lines = ["| fault | " + " | ".join(CALLS) + " | works again after |", "| --- " * (len(CALLS) + 2) + "|"]
    for fault in FAULTS:
        if chosen.only is None or chosen.only in fault.title:
            lines.append(in_a_process(fault))
            print(lines[-1], flush=True)
    lines += ["", "| fault in the process that refreshes | a caller in another process | works again after |"]
    lines += ["| --- | --- | --- |"]
    lines += asyncio.run(peers([title for title in PEER_FAULTS if chosen.only is None or chosen.only in title]))
    if chosen.write:
        page = chosen.write.read_text()
        head, tail = page[: page.index(BEGIN)], page[page.index(END) :]
        chosen.write.write_text("\n".join([head + BEGIN, "", *lines, "", tail]))


async def peers(titles: list[str]) -> list[str]:
    """Measure the faults of the process that refreshes, all at once, because a measurement mostly waits."""
    cells = await asyncio.gather(*(measure_peer(PEER_FAULTS[title]) for title in titles))
    lines = [f"| {title} | {seen} | {took} |" for title, (seen, took) in zip(titles, cells, strict=True)]
    print(*lines, sep="\n", flush=True)
    return lines


def in_a_process(fault: SceneFault) -> str:
    """Measure a row in a process of its own, because a vault that hangs cannot be closed."""
    with (
        tempfile.TemporaryDirectory(prefix="vault-faults-") as directory,
        start_processes([Call(measure_title, [fault.title, directory])]) as group,
    ):
        group.go()
        group[0].wait_for_output("\n", timeout=400)
        return group[0].stdout.rstrip()


if __name__ == "__main__":
    main()
