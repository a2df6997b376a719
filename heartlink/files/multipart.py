"""``multipart/form-data`` read as it arrives (RFC 7578): fields as text, the file in pieces. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from heartlink.errors import Refusal, invalid_parameters

BOUNDARY_CHARS: Final = 70
PART_HEADER_BYTES: Final = 8 << 10
FIELD_BYTES: Final = 256 << 10
"""Of all text fields together; a message of the longest kind fits several times."""

PARTS_LIMIT: Final = 32

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"]+)"|([^\s;,"]+))', re.IGNORECASE)
_PARAMETER: Final = re.compile(r';\s*([\w*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))')
_END: Final = b"\r\n"


class Field(NamedTuple):
    """A text field, whole."""

    name: str
    value: str


class FilePart(NamedTuple):
    """A file begins: the field's name, and the name that the client gave the file."""

    field: str
    name: str


class Piece(NamedTuple):
    """A piece of the file that began last."""

    data: bytes


Found = Field | FilePart | Piece


def boundary_of(content_type: str) -> bytes:
    """What parts are separated by; raises ``invalid_parameters``."""
    found = _BOUNDARY.search(content_type)
    boundary = (found[1] or found[2]) if found else ""
    if not 1 <= len(boundary) <= BOUNDARY_CHARS or not boundary.isascii():
        raise bad_form("its Content-Type names no boundary")
    return boundary.encode()


class FormReader:
    """Fed with a body in pieces of any size, it gives what it finds; what is in memory stays small."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter has no line before it: as if it had.
        self._buffer = bytearray(b"\r\n")
        self._state = self._read_preamble
        self._name = ""
        self._value: bytearray | None = None
        self._field_bytes = self._parts = 0
        self.is_complete = False
        """Whether the closing delimiter has come."""

    def feed(self, data: bytes) -> Iterator[Found]:
        """What has become complete with this piece of the body; raises ``invalid_parameters``."""
        self._buffer += data
        while True:
            found, goes_on = self._state()
            if found is not None:
                yield found
            if not goes_on:
                return

    def _read_preamble(self) -> tuple[Found | None, bool]:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            # What cannot be the beginning of a delimiter is of no interest.
            del self._buffer[: max(0, len(self._buffer) - len(self._delimiter))]
            return None, False
        del self._buffer[: at + len(self._delimiter)]
        self._state = self._read_delimiter_end
        return None, True

    def _read_delimiter_end(self) -> tuple[Found | None, bool]:
        """Behind a delimiter: two dashes are the end of all, a line break the beginning of a part."""
        if len(self._buffer) < 2:
            return None, False
        if self._buffer[:2] == b"--":
            self.is_complete = True
            self._state = self._ignore
            return None, True
        stripped = self._buffer.lstrip(b" \t")
        if len(stripped) < 2 and len(self._buffer) < PART_HEADER_BYTES:
            return None, False
        if stripped[:2] != _END:
            raise bad_form("a boundary is followed by something else")
        self._buffer = stripped
        self._parts += 1
        if self._parts > PARTS_LIMIT:
            raise bad_form(f"it has more than {PARTS_LIMIT} parts")
        self._state = self._read_headers
        return None, True

    def _read_headers(self) -> tuple[Found | None, bool]:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            if len(self._buffer) > PART_HEADER_BYTES:
                raise bad_form("the headers of a part are too long")
            return None, False
        headers = bytes(self._buffer[:at]).decode("utf-8", "replace")
        # The line break before the content is the first half of a delimiter where there is no content.
        del self._buffer[: at + 2]
        name, file_name = _disposition(headers)
        self._name, self._value = name, bytearray() if file_name is None else None
        self._state = self._skip_line
        return (None if file_name is None else FilePart(name, file_name)), True

    def _skip_line(self) -> tuple[Found | None, bool]:
        if len(self._buffer) < len(self._delimiter):
            if not self._delimiter.startswith(bytes(self._buffer)):
                return self._begin_content()
            return None, False
        return self._begin_content()

    def _begin_content(self) -> tuple[Found | None, bool]:
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]
        self._state = self._read_content
        return None, True

    def _read_content(self) -> tuple[Found | None, bool]:
        at = self._buffer.find(self._delimiter)
        end = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        if self._value is not None:
            self._value += data
            self._field_bytes += len(data)
            if self._field_bytes > FIELD_BYTES:
                raise bad_form(f"its fields are longer than {FIELD_BYTES} bytes")
        if at < 0:
            return (Piece(data) if data and self._value is None else None), False
        del self._buffer[: len(self._delimiter)]
        self._state = self._read_delimiter_end
        if self._value is None:
            return (Piece(data) if data else None), True
        return Field(self._name, self._value.decode("utf-8", "replace")), True

    def _ignore(self) -> tuple[Found | None, bool]:
        self._buffer.clear()
        return None, False


def _disposition(headers: str) -> tuple[str, str | None]:
    """The name of a part, and of its file if it is one."""
    for line in headers.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == "content-disposition":
            found = {name.lower(): quoted if quoted else plain for name, quoted, plain in _PARAMETER.findall(value)}
            if "name" not in found:
                break
            file_name = found.get("filename")
            return _unquoted(found["name"]), None if file_name is None else _unquoted(file_name)
    raise bad_form("a part has no name")


def _unquoted(text: str) -> str:
    """As browsers write names: a quote as %22, line breaks as %0D%0A (RFC 7578, WHATWG)."""
    text = text.replace('\\"', '"')
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def bad_form(reason: str) -> Refusal:
    """The refusal for a body that is no such form."""
    return invalid_parameters(
        f"The form cannot be read: {reason}.", "Send multipart/form-data with the file as 'file', or the file alone."
    )
