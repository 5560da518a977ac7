"""Binary tensors: what is written is read, and any other bytes are elements to the last byte, or refused."""

import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from service.api.binary_tensors import LENGTH_HEADER, json_length, read_bytes, write_bytes, write_fp32
from service.http.problems import Problem

TEXTS = st.lists(st.text(max_size=20), max_size=6)


@given(TEXTS)
def test_what_is_written_is_read(texts: list[str]) -> None:
    assert read_bytes(write_bytes(texts), len(texts)) == [text.encode() for text in texts]


@given(TEXTS, st.data())
def test_damaged_bytes_are_elements_to_the_last_byte_or_refused(texts: list[str], data: st.DataObject) -> None:
    whole, count = write_bytes(texts), data.draw(st.integers(0, 7) | st.just(len(texts)))
    place = data.draw(st.integers(0, len(whole)))
    inserted, cut = data.draw(st.binary(max_size=5)), data.draw(st.integers(0, 5))
    damaged = whole[:place] + inserted + whole[place + cut :]
    try:
        elements = read_bytes(damaged, count)
    except Problem:
        return
    assert len(elements) == count
    assert b"".join(struct.pack("<I", len(element)) + element for element in elements) == damaged


@given(st.lists(st.floats(0, 1), max_size=20))
def test_numbers_are_rounded_to_the_nearest(values: list[float]) -> None:
    assert np.frombuffer(write_fp32(values), "<f4").tolist() == np.array(values, np.float32).tolist()


@given(st.binary(max_size=12) | st.integers(-10, 10**12).map(lambda number: str(number).encode()), st.integers(0, 500))
@example(b"500", 500)
@example(b"9" * 5000, 500)
def test_the_length_of_the_json_is_within_the_body_or_refused(value: bytes, body_bytes: int) -> None:
    try:
        length = json_length({LENGTH_HEADER.lower().encode(): value}, body_bytes)
    except Problem:
        return
    assert length is not None
    assert 0 <= length <= body_bytes
    assert int(value) == length
