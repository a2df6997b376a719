"""Frames both ways: the bytes of the RFC, every way to chop them, and everything a client may get wrong."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartlink import frames
from heartlink.frames import Binary, Close, FrameReader, Ping, Pong, Violation

MASK = b"\x37\xfa\x21\x3d"
LIMIT = 1_000


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    return mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def sent(opcode: int, payload: bytes = b"", final: bool = True, width: int | None = None) -> bytes:
    """A client's frame, by hand; ``width`` forces a length of 2 or 8 bytes."""
    length = len(payload)
    if width is None:
        width = 0 if length < 126 else 2 if length < 1 << 16 else 8
    lengths = {0: bytes([0x80 | length & 0x7F]), 2: b"\xfe" + struct.pack("!H", length & 0xFFFF)}
    lengths[8] = b"\xff" + struct.pack("!Q", length)
    return bytes([(0x80 if final else 0) | opcode]) + lengths[width] + masked(payload)


def closing(code: int, reason: bytes = b"") -> bytes:
    return sent(8, struct.pack("!H", code) + reason)


# --- What the server sends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (frames.text_frame(b"Hello"), bytes.fromhex("810548656c6c6f")),
        (frames.text_frame(b""), b"\x81\x00"),
        (frames.text_frame(b"x" * 125), b"\x81\x7d" + b"x" * 125),
        (frames.text_frame(b"x" * 126), b"\x81\x7e\x00\x7e" + b"x" * 126),
        (frames.text_frame(b"x" * 65_535), b"\x81\x7e\xff\xff" + b"x" * 65_535),
        (frames.text_frame(b"x" * 65_536), b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 65_536),
        (frames.text_header(300) + b"y" * 300, frames.text_frame(b"y" * 300)),
        (frames.binary_frame(b"\xff"), b"\x82\x01\xff"),
        (frames.ping_frame(b"a"), b"\x89\x01a"),
        (frames.pong_frame(), b"\x8a\x00"),
        (frames.close_frame(None), b"\x88\x00"),
        (frames.close_frame(4403, "forbidden"), b"\x88\x0b\x11\x33forbidden"),
        (frames.close_frame(1000, "心" * 60), b"\x88\x7d\x03\xe8" + ("心" * 41).encode()),
    ],
)
def test_a_server_frame_has_the_bytes_of_the_rfc(frame: bytes, expected: bytes) -> None:
    assert frame == expected


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 10_001, 70_000])
def test_a_close_code_that_must_not_travel_is_not_built(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        frames.close_frame(code)


def test_a_control_frame_too_long_is_not_built() -> None:
    with pytest.raises(ValueError, match="at most 125"):
        frames.ping_frame(b"x" * 126)


def test_cut_finds_the_frames_around_every_position() -> None:
    parts = [frames.text_frame(b"x" * length) for length in (0, 3, 126, 1, 65_536, 0)]
    joined = b"".join(parts)
    ends = [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    for position in [*range(140), ends[3] - 1, ends[3], ends[3] + 1, ends[4] - 1, ends[4], ends[4] + 1, ends[5]]:
        whole = sum(end <= position for end in ends)
        between = position in (0, *ends)
        assert frames.cut(joined, position) == (whole, position if between else ends[whole])


# --- What a client sends ---------------------------------------------------------------------------

GOOD = [
    (sent(1, b"Hello"), [b"Hello"]),
    (sent(1), [b""]),
    (sent(1, b"x" * 125), [b"x" * 125]),
    (sent(1, b"x" * 126), [b"x" * 126]),
    (sent(1, b"x" * LIMIT), [b"x" * LIMIT]),
    (sent(1, b"Hello", width=2), [b"Hello"]),
    (sent(1, b"Hello", width=8), [b"Hello"]),
    (sent(1, "心动链接 ❤️ 😀".encode()), ["心动链接 ❤️ 😀".encode()]),
    (sent(1, b"a\x00b"), [b"a\x00b"]),
    (sent(2, b"\xff\xfe"), [Binary(b"\xff\xfe")]),
    (sent(9, b"x" * 125), [Ping(b"x" * 125)]),
    (sent(10), [Pong(b"")]),
    (sent(1, b"He", final=False) + sent(0, b"llo"), [b"Hello"]),
    (sent(1, b"", final=False) + sent(0, b"", final=False) + sent(0), [b""]),
    (sent(2, b"\xff", final=False) + sent(0, b"\xfe"), [Binary(b"\xff\xfe")]),
    (sent(1, b"He", final=False) + sent(9, b"!") + sent(10) + sent(0, b"llo"), [Ping(b"!"), Pong(b""), b"Hello"]),
    (sent(1, "心".encode()[:1], final=False) + sent(0, "心".encode()[1:]), ["心".encode()]),
    (sent(1, b"x" * 500, final=False) + sent(0, b"x" * 500), [b"x" * LIMIT]),
    (sent(8), [Close(None, "")]),
    (closing(1000), [Close(1000, "")]),
    (closing(4999, "再见".encode()), [Close(4999, "再见")]),
    (closing(1001, b"x" * 123), [Close(1001, "x" * 123)]),
    (sent(1, b"a") + closing(1000) + sent(1, b"b"), [b"a", Close(1000, "")]),
    (sent(1, b"He", final=False) + closing(1000), [Close(1000, "")]),
]

BAD = [
    ("no mask", b"\x81\x05Hello", 1002),
    ("no mask on a ping", b"\x89\x00", 1002),
    ("reserved bit 1", b"\xc1\x80" + MASK, 1002),
    ("reserved bit 2", b"\xa1\x80" + MASK, 1002),
    ("reserved bit 3", b"\x91\x80" + MASK, 1002),
    *((f"opcode {opcode}", sent(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    ("a fragmented ping", sent(9, final=False), 1002),
    ("a fragmented close", sent(8, final=False), 1002),
    ("a ping of 126 bytes", sent(9, b"x" * 126), 1002),
    ("a close of 126 bytes", sent(8, b"\x03\xe8" + b"x" * 124), 1002),
    ("a continuation of nothing", sent(0, b"x"), 1002),
    ("a continuation after the end", sent(1, b"a", final=False) + sent(0, b"b") + sent(0, b"c"), 1002),
    ("a message inside another", sent(1, b"a", final=False) + sent(1, b"b"), 1002),
    ("a binary inside a text", sent(1, b"a", final=False) + sent(2, b"b"), 1002),
    ("a length with its highest bit set", b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x01", 1002),
    ("a close of one byte", sent(8, b"\x03"), 1002),
    *(
        (f"close code {code}", closing(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    ),
    ("text that is not UTF-8", sent(1, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), 1007),
    ("text that stops inside a character", sent(1, "心".encode()[:2]), 1007),
    ("an overlong slash", sent(1, b"\xc0\xaf" * 100), 1007),
    ("not UTF-8 in fragments", sent(1, b"\xe5\xbf", final=False) + sent(0, b"x"), 1007),
    ("not UTF-8 before the last fragment", sent(1, b"\xff", final=False), 1007),
    ("stops inside a character, in fragments", sent(1, b"\xe5", final=False) + sent(0, b"\xbf"), 1007),
    ("a close reason that is not UTF-8", closing(1000, b"\xff"), 1007),
    ("one byte too many", sent(1, b"x" * (LIMIT + 1)), 1009),
    ("too many, announced only", b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00", 1009),
    ("too many in fragments", sent(1, b"x" * 600, final=False) + sent(0, b"x" * 401), 1009),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(("data", "events"), GOOD)
def test_what_is_right_is_read_however_it_is_chopped(data: bytes, events: list[frames.Event], size: int) -> None:
    reader = FrameReader(LIMIT)
    read = [event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])]
    assert read == events


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(("data", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_wrong_ends_the_reading_with_its_code(data: bytes, code: int, size: int) -> None:
    reader = FrameReader(LIMIT)
    before, after = sent(1, b"before"), sent(1, b"after")
    data = before + data + after
    read = [event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])]
    assert read[0] == b"before"
    assert isinstance(read[-1], Violation) and read[-1].code == code and read[-1].detail
    assert reader.ended and not reader.behind and b"after" not in read


def test_too_big_is_known_from_the_header_alone() -> None:
    reader = FrameReader(LIMIT)
    assert reader.feed(b"\x81\xfe\x03") == []
    (event,) = reader.feed(b"\xe9")
    assert isinstance(event, Violation) and event.code == 1009


def test_a_frame_alone_is_judged_like_one_among_others() -> None:
    for text, code in ((b"\xff", 1007), (b"x" * 11, 1009)):
        (event,) = FrameReader(10).feed(sent(1, text))
        assert isinstance(event, Violation) and event.code == code


def test_without_a_limit_everything_fits() -> None:
    assert FrameReader().feed(sent(2, b"x" * 200_000)) == [Binary(b"x" * 200_000)]


def test_a_turn_takes_only_so_many_frames_and_the_rest_waits() -> None:
    reader = FrameReader(LIMIT)
    numbered = [b"%d" % n for n in range(70)]
    turns = [reader.feed(b"".join(sent(1, text) for text in numbered) + sent(1, b"half")[:-1], 32)]
    while reader.behind:
        turns.append(reader.feed(b"", 32))
    assert [len(turn) for turn in turns] == [32, 32, 6]
    assert [text for turn in turns for text in turn] == numbered
    assert reader.feed(sent(1, b"half")[-1:]) == [b"half"]


def test_fragments_count_as_frames_too() -> None:
    reader = FrameReader(LIMIT)
    assert reader.feed(sent(1, final=False) + sent(0, final=False) * 100 + sent(0, b"x"), 32) == []
    assert reader.behind


@pytest.mark.parametrize("length", [*range(10), 125, 126, 1_000, 70_001])
def test_unmask_takes_off_what_the_rfc_puts_on(length: int) -> None:
    payload, mask = os.urandom(length), os.urandom(4)
    assert frames.unmask(mask, masked(payload, mask)[4:]) == payload


PIECES = st.one_of(
    st.text(max_size=300).map(lambda text: (sent(1, text.encode()), [text.encode()])),
    st.binary(max_size=300).map(lambda data: (sent(2, data), [Binary(data)])),
    st.binary(max_size=125).map(lambda data: (sent(9, data), [Ping(data)])),
    st.binary(max_size=125).map(lambda data: (sent(10, data), [Pong(data)])),
    st.tuples(st.text(max_size=100), st.integers(0, 300), st.binary(max_size=9)).map(
        lambda row: (
            sent(1, row[0].encode()[: row[1]], final=False) + sent(9, row[2]) + sent(0, row[0].encode()[row[1] :]),
            [Ping(row[2]), row[0].encode()],
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=6), st.data())
def test_any_chopping_of_any_frames_yields_the_same_events(
    pieces: list[tuple[bytes, list[frames.Event]]], data: st.DataObject
) -> None:
    stream = b"".join(piece[0] for piece in pieces) + closing(1000, b"bye")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader(LIMIT)
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += reader.feed(stream[start:end], data.draw(st.integers(1, 9)))
        while reader.behind:
            events += reader.feed(b"", 2)
    assert events == [event for piece in pieces for event in piece[1]] + [Close(1000, "bye")]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_no_bytes_at_all_upset_the_reader(stream: bytes, size: int) -> None:
    whole, chopped = FrameReader(LIMIT), FrameReader(LIMIT)
    events = [event for at in range(0, len(stream), size) for event in chopped.feed(stream[at : at + size])]
    assert events == whole.feed(stream)
