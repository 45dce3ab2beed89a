"""Lines and rows of dumps, above all hostile ones: a bad line does not affect the others."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_adapters.importing.csv_fields import fields_of
from vault_adapters.importing.lines import MOST_BYTES, Line, read_lines
from vault_adapters.importing.records import Record, read_records
from vault_domain.entities.imported import ImportFailure

HEADER = b"a,b\n"


def read(raw):
    """Return what a dump holds: a row as its line number and values, a failure as its line number and code."""
    rows = read_records(io.BytesIO(raw), ("a",))
    return [(row.line, row.values if isinstance(row, Record) else row.code) for row in rows]


@pytest.mark.parametrize("raw", [b"", b"\n", b"\r\n\n  \n", HEADER, b"\xef\xbb\xbf"])
def test_nothing(raw):
    assert read(raw) == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"1"}\n{"a":"2"}\n',
        b'{"a":"1"}\r\n{"a":"2"}\r\n',
        b'\xef\xbb\xbf{"a":"1"}\n  {"a":"2"}',
        b"a\n1\n2\n",
        b"\xef\xbb\xbfa\r\n1\r\n2",
        b'"a"\n"1"\n"2"\n',
    ],
)
def test_ends_of_lines_and_byte_order_marks(raw):
    assert [values for _, values in read(raw)] == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a":"1"', "not_json"),
        (b'{"a":"1"} {"a":"2"}', "not_json"),
        (b'{"a":"1","a":"2"}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a":' * 100_000, "not_json"),
        (b'{"a":' + b"9" * 5000 + b"}", "not_json"),
        (b'{"a":"\x00"}', "not_json"),
        (b"\x00", "not_json"),
        (b"null", "not_an_object"),
        (b'["a"]', "not_an_object"),
        (b'{"a":"\xff"}', "not_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "not_utf8"),
        (b'{"a":"' + b"x" * MOST_BYTES + b'"}', "line_too_long"),
        (b"x" * 5 * MOST_BYTES, "line_too_long"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_a_bad_line_of_json(line, code):
    good = b'{"a":"good"}\n'
    assert read(good + line + b"\n" + good) == [(1, {"a": "good"}), (2, code), (3, {"a": "good"})]
    assert read(line + b"\n" + good) == [(1, code), (2, {"a": "good"})]
    assert read(good + line) == [(1, {"a": "good"}), (2, code)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"1", "wrong_number_of_columns"),
        (b"1,2,3", "wrong_number_of_columns"),
        (b'"1,2', "not_csv"),
        (b'1,"2', "not_csv"),
        (b'1,"2"x', "not_csv"),
        (b"1,\xff", "not_utf8"),
        (b"1," + b"x" * MOST_BYTES, "line_too_long"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_a_bad_line_of_csv(line, code):
    good = [{"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    assert read(HEADER + line + b"\n3,4\n5,6\n") == [(2, code), (3, good[0]), (4, good[1])]


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_long_field_of_csv(quote):
    """Python's own reader refuses fields of more than 128 KiB, unless the whole process changes its limit."""
    long = "x" * 300_000
    assert read(HEADER + f"1,{quote}{long}{quote}\n3,4\n".encode()) == [
        (2, {"a": "1", "b": long}),
        (3, {"a": "3", "b": "4"}),
    ]


@given(st.text(alphabet='a,"\r\n \u2028', max_size=12))
def test_fields_are_those_of_pythons_reader(text):
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        rows = []
    if text.strip("\r\n"):
        assert fields_of(text) == (rows[0] if len(rows) == 1 else None)


def test_a_text_over_several_lines():
    raw = HEADER + b'1,"x\r\ny ""z"""\r\n2,"\n\n"\n3,4\n'
    assert read(raw) == [(2, {"a": "1", "b": 'x\r\ny "z"'}), (4, {"a": "2", "b": "\n\n"}), (7, {"a": "3", "b": "4"})]


def test_two_stray_quotes_do_not_swallow_what_is_between_them():
    rows = b"".join(b"%d,x\n" % number for number in range(50))
    found = read(HEADER + b'0,x"\n' + rows + b'0,x"\n' + rows)
    assert [line for line, what in found if isinstance(what, str)] == [2, 53]
    assert len(found) == 102


def test_a_bad_line_inside_of_a_text():
    assert read(HEADER + b'1,"x\n\xff\n2,3\n') == [(2, "not_csv"), (3, "not_utf8"), (4, {"a": "2", "b": "3"})]


@pytest.mark.parametrize("null", ["", "\\N", "NULL", "null"])
def test_nulls_of_csv(null):
    assert read(HEADER + f"1,{null}\n".encode()) == [(2, {"a": "1", "b": None})]


@pytest.mark.parametrize("header", [b"b,c", b"a,a", b"A,b", b'a,"b'])
def test_what_is_no_header_is_a_bad_line(header):
    found = read(header + b"\n1,2\n")
    assert found == [(1, "not_json"), (2, "not_json")]


def test_no_more_is_held_than_a_row():
    class Endless(io.RawIOBase):
        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            piece = (b'{"a":"' + b"x" * 100 + b'"}\n')[: len(buffer)]
            buffer[: len(piece)] = piece
            self.given += len(piece)
            return len(piece)

    source = Endless()
    rows = read_records(io.BufferedReader(source), ("a",))
    assert [next(rows).line for _ in range(1000)] == list(range(1, 1001))
    assert source.given < 1_000_000


def test_neither_rows_nor_lines_show_what_they_hold():
    [row] = read_records(io.BytesIO(json.dumps({"a": "canary"}).encode()), ("a",))
    assert "canary" not in repr(row)
    assert isinstance(row, Record)
    assert not isinstance(row, ImportFailure)
    [line] = read_lines(io.BytesIO(b"canary"))
    assert isinstance(line, Line)
    assert line.text == "canary"
    assert "canary" not in repr(line)
