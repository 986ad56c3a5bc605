"""The wire format: what openpi writes, and what nobody should be able to do with it."""

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.errors import UserError
from policy_extraction.remote.messages import MalformedMessage, pack, unpack, unpack_map


def test_arrays_come_back_as_they_were_sent():
    sent = {
        "picture": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        "chunk": np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2).T,  # not in C order
        "scalar": np.float64(0.5),
        "empty": np.zeros((0, 7), np.float32),
        "text": "stack",
        "nested": [{"a": np.bool_(True)}, None, 3],
    }
    got = unpack(pack(sent))
    for name in ("picture", "chunk", "empty"):
        np.testing.assert_array_equal(got[name], sent[name])
        assert got[name].dtype == sent[name].dtype
    assert (got["scalar"], got["text"], got["nested"]) == (0.5, "stack", [{"a": True}, None, 3])


def test_it_is_the_form_that_openpi_writes():
    """Worked out by hand from openpi_client.msgpack_numpy."""
    array = np.array([[1, 2]], np.int16)
    form = {b"__ndarray__": True, b"data": b"\x01\x00\x02\x00", b"dtype": "<i2", b"shape": (1, 2)}
    assert pack(array) == msgpack.packb(form)
    np.testing.assert_array_equal(unpack(msgpack.packb(form)), array)


def array_of(**changed):
    whole = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": (2,), **changed}
    return msgpack.packb(
        {"actions": {key.encode() if isinstance(key, str) else key: v for key, v in whole.items()}}
    )


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"", "not a message"),
        (b"\xc1", "not a message"),
        (b"hello, is anybody there?", "not a message"),
        (pack({"a": 1})[:-1], "not a message"),
        (b"\x81\xa1a" + b"\x91" * 5000, "not a message"),  # nested without end
        (array_of(dtype="|O"), "not taken"),
        (array_of(dtype="<c8"), "not taken"),
        (array_of(dtype="<f4,<f4"), "not taken"),
        (array_of(dtype="nonsense"), "unknown type"),
        (array_of(dtype=3), "without a type"),
        (array_of(shape=(2**40,)), "8 bytes cannot have shape"),
        (array_of(shape=(-2,)), "without bytes and a shape"),
        (array_of(shape="2"), "without bytes and a shape"),
        (array_of(data="12345678"), "without bytes and a shape"),
        (array_of(dtype="<U0", data=b"", shape=(5,)), "without letters"),
        (pack({b"a": 2}), "no names and values"),
        (pack([1, 2]), "no names and values"),
        (pack({1: 2}), "not a message"),
    ],
)
def test_nonsense_is_refused(message, says):
    with pytest.raises(MalformedMessage, match=says):
        unpack_map(message)


def test_what_has_no_form_is_not_sent():
    for thing in (np.array([object()]), np.array([1j]), {1, 2}):
        with pytest.raises(UserError, match="cannot be sent"):
            pack({"thing": thing})


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message):
    with contextlib.suppress(MalformedMessage):
        assert isinstance(unpack_map(message), dict)
