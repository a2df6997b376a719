"""What the server says of itself, in the language of the page (the same tables that the page's scripts use)."""

from __future__ import annotations

import re
from collections.abc import Mapping

PATTERN_PREFIX = "server:"
CODE_PREFIX = "code:"
_PLACE = re.compile(r"\\\{(\d)\\\}")
_MARK = re.compile(r"\{(\d)\}")


def translate_refusal(strings: Mapping[str, str], message: str, fix: str, code: str) -> tuple[str, str]:
    """Sentence and fix by ``strings`` (English to the page's language; empty for English itself).

    A sentence without a translation is told by its code, a fix without one is left out: half a page in another
    language helps nobody.
    """
    if not strings:
        return message, fix
    sentence = translate_sentence(strings, message) or strings.get(CODE_PREFIX + code) or message
    return sentence, translate_sentence(strings, fix) or ""


def translate_sentence(strings: Mapping[str, str], sentence: str) -> str | None:
    """A sentence, exactly or by a pattern such as ``server:The room '{1}' was ended.``; None when there is none."""
    if sentence in strings:
        return strings[sentence]
    for key, words in strings.items():
        if not key.startswith(PATTERN_PREFIX):
            continue
        pattern = _PLACE.sub("(.+)", re.escape(key.removeprefix(PATTERN_PREFIX)))
        if found := re.fullmatch(pattern, sentence):
            return _fill(words, found.groups())
    return None


def _fill(words: str, values: tuple[str, ...]) -> str:
    return _MARK.sub(lambda mark: values[int(mark[1]) - 1], words)
