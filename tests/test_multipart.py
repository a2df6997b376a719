"""The reader of forms: what it finds does not depend on how the body was cut into pieces."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from heartlink.files.multipart import Field, FilePart, FormReader, Piece, boundary_of

BOUNDARY = b"b1"
NEARLY = st.lists(
    st.sampled_from([b"\r\n", b"--", b"b1", b"\r\n--b", b"\r", b"\n", b"-", b"x", b"\x00\xff", b"--b2"]), max_size=12
).map(b"".join)


def body(parts: list[tuple[str, bytes]]) -> bytes:
    made = b"preamble\r\n" if parts and parts[0][1] else b""
    for name, data in parts:
        made += b"--b1\r\n"
        extra = '; filename="f"' if name == "file" else ""
        made += f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode()
        made += data + b"\r\n"
    return made + b"--b1--\r\nepilogue"


def found_in(whole: bytes, cuts: list[int]) -> list[tuple[str, bytes]]:
    reader, found, at = FormReader(BOUNDARY), [], 0
    for end in [*sorted(cuts), len(whole)]:
        for one in reader.feed(whole[at:end]):
            if isinstance(one, Field):
                found.append((one.name, one.value.encode()))
            elif isinstance(one, FilePart):
                found.append(("file", b""))
            elif isinstance(one, Piece):
                name, before = found.pop()
                found.append((name, before + one.data))
        at = end
    assert reader.is_complete
    return found


@settings(deadline=None)
@given(st.data())
def test_the_cuts_make_no_difference(data: st.DataObject) -> None:
    parts = data.draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("file"), NEARLY.filter(lambda content: b"\r\n--b1" not in b"\r\n" + content)),
                st.tuples(st.just("content"), st.text(max_size=8).map(str.encode)),
            ),
            max_size=5,
        )
    )
    parts = [(name, content) for name, content in parts if b"\r\n--b1" not in b"\r\n" + content]
    whole = body(parts)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    assert found_in(whole, cuts) == parts
    assert found_in(whole, list(range(len(whole)))) == parts


def test_a_boundary_is_read_as_it_is_written() -> None:
    for text in ('multipart/form-data; boundary="b 1"', "multipart/form-data; charset=utf-8; Boundary=b1"):
        assert boundary_of(text) in (b"b 1", b"b1")
