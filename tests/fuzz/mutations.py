"""Inputs for a target: most are changed inputs of its corpus, the others are made from scratch."""

from collections.abc import Sequence
from functools import reduce

from hypothesis import strategies as st
from tests.fuzz.target import Target

_LONGEST = 256 * 1024
_SCALE = 2**16

Edit = tuple[str, int, int, bytes]
"""Name of the edit; its begin, as a share of the data; its reach, as a share of the rest; the bytes that it uses.

A share is a number from 0 to `_SCALE`, which stands for the whole.
"""


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """Return the strategy of a target's inputs."""
    corpus = target.corpus
    piece = st.sampled_from(target.words) | st.binary(max_size=8) | st.sampled_from(corpus)
    place = st.integers(0, _SCALE)
    edits = st.lists(st.tuples(st.sampled_from(sorted(_EDITS)), place, place, piece), max_size=6)
    changed = st.builds(_edited, st.sampled_from(corpus), edits)
    return changed | changed | changed | st.lists(piece, max_size=20).map(b"".join) | st.binary(max_size=512)


def _edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    return reduce(_edit, edits, data)[:_LONGEST]


def _edit(data: bytes, edit: Edit) -> bytes:
    name, place, reach, piece = edit
    begin = len(data) * place // _SCALE
    end = begin + (len(data) - begin) * reach // _SCALE
    return _EDITS[name](data, begin, end, reach, piece)


_EDITS = {
    "cut out": lambda data, begin, end, reach, piece: data[:begin] + data[end:],
    "cut off": lambda data, begin, end, reach, piece: data[:begin],
    "insert": lambda data, begin, end, reach, piece: data[:begin] + piece + data[begin:],
    "overwrite": lambda data, begin, end, reach, piece: data[:begin] + piece + data[begin + len(piece) :],
    "change a byte": lambda data, begin, end, reach, piece: (
        data[:begin] + bytes((data[begin] ^ (1 << reach % 8),)) + data[begin + 1 :] if begin < len(data) else data
    ),
    "repeat": lambda data, begin, end, reach, piece: (
        data[:begin] + data[begin:end] * min(2 + reach % 1000, _LONGEST // max(end - begin, 1)) + data[end:]
    ),
}
