"""Which part of a file a request asks for, and whether it asks at all: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from heartlink.errors import Refusal

_TAGS: Final = re.compile(r'(W/)?("[^"]*")')
_RANGE: Final = re.compile(r"bytes\s*=\s*([0-9]{0,30})\s*-\s*([0-9]{0,30})\s*", re.IGNORECASE)


class Content(NamedTuple):
    """What there is: its length, its strong entity tag (with quotes), and when it was made, in epoch seconds."""

    size_bytes: int
    etag: str
    modified_seconds: int


class Part(NamedTuple):
    """What to answer: 200, 206, 304, 412 or 416, and which bytes."""

    status: int
    start: int = 0
    length: int = 0


def choose_part(method: str, headers: Mapping[str, str], content: Content) -> Part:
    """What a request with these headers gets. Several ranges at once get the whole, as RFC 9110 14.2 allows."""
    if not _is_as_expected(headers, content):
        return Part(412)
    if _is_known(headers, content):
        return Part(304)
    whole = Part(200, 0, content.size_bytes)
    asked = headers.get("Range")
    if method != "GET" or asked is None or not _is_same(headers.get("If-Range"), content):
        return whole
    return _part(asked, content.size_bytes) or whole


def _is_as_expected(headers: Mapping[str, str], content: Content) -> bool:
    expected = headers.get("If-Match")
    if expected is not None:
        return expected.strip() == "*" or ("", content.etag) in _TAGS.findall(expected)
    since = _seconds(headers.get("If-Unmodified-Since"))
    return since is None or content.modified_seconds <= since


def _is_known(headers: Mapping[str, str], content: Content) -> bool:
    known = headers.get("If-None-Match")
    if known is not None:
        return known.strip() == "*" or any(tag == content.etag for _, tag in _TAGS.findall(known))
    since = _seconds(headers.get("If-Modified-Since"))
    return since is not None and content.modified_seconds <= since


def _is_same(condition: str | None, content: Content) -> bool:
    """Whether what the client has a part of is still what there is (``If-Range``); a weak tag never is."""
    if condition is None:
        return True
    return condition.strip() == content.etag or _seconds(condition) == content.modified_seconds


def _part(asked: str, size_bytes: int) -> Part | None:
    """The one range that is asked for; None when it is none that we read."""
    found = _RANGE.fullmatch(asked.strip())
    first, last = found.groups() if found else ("", "")
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size_bytes)
        return Part(206, size_bytes - length, length) if length else Part(416)
    if last and int(last) < int(first):
        return None
    start = int(first)
    if start >= size_bytes:
        return Part(416)
    return Part(206, start, min(int(last) + 1 if last else size_bytes, size_bytes) - start)


def _seconds(text: str | None) -> int | None:
    """A date of HTTP in epoch seconds; None for nothing, and for what is no date."""
    try:
        moment = parsedate_to_datetime(text or "")
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, TypeError):
        return None


def no_such_range(size_bytes: int) -> Refusal:
    """The refusal for a range that lies outside of the file."""
    return Refusal(
        "range_not_satisfiable",
        416,
        f"The range lies outside of the file, which has {size_bytes} bytes.",
        "Ask for a range within it, or without the header 'Range'.",
    )


def not_as_expected() -> Refusal:
    """The refusal for a condition that does not hold (``If-Match``, ``If-Unmodified-Since``)."""
    return Refusal(
        "precondition_failed",
        412,
        "The file is not the one that the request expects.",
        "Ask again without the condition, and compare the ETag.",
    )
