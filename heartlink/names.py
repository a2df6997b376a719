"""What a user, a display name, a tag or a bio may be made of: visible text that reads the same for everyone."""

from __future__ import annotations

import unicodedata

from heartlink.errors import Refusal, invalid_parameters

NAME_CHARS = 64
FOLD_CHARS = 256
BIO_CHARS = 1000
TAG_CHARS = 32
TAGS = 10
URL_CHARS = 500

PUNCTUATION = "_.-+@"
_ZERO_WIDTH_JOINER = "\u200d"
_EMOJI_PRESENTATION = "\ufe0f"
_KEYCAP = "\u20e3"
_TEXT_PRESENTATION = "\ufe0e"

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and characters that are drawn as nothing
# although they are letters or symbols by category.
_INVISIBLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFD),
    (0x16FE4, 0x16FE4), (0x1BCA0, 0x1BCA3), (0x1D159, 0x1D159), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
# Blocks in which Unicode goes on assigning emoji and ideographs after the interpreter's own tables were made.
_GROWING = ((0x1F000, 0x1FAFF), (0x20000, 0x2FFFD), (0x30000, 0x3FFFD))


def fold(name: str) -> str:
    """The form in which names are compared: NFKC and case folding, repeated until nothing changes."""
    folded = name
    for _ in range(8):
        previous, folded = folded, unicodedata.normalize("NFKC", folded).casefold()
        if folded == previous:
            break
    return folded


def check_username(name: str, field: str = "username") -> str:
    """The name as it is stored (NFC), or a Refusal that names the character and the fix."""
    name = _composed(name, field)
    _check_length(name, field, "user name")
    for index, character in enumerate(name):
        problem = _problem_in_name(character, first=index == 0)
        if problem:
            raise _refuse(
                field,
                f"The user name contains {describe(character)}, {problem}.",
                f"Leave it out; letters, numbers, emoji and {' '.join(PUNCTUATION)} are possible.",
            )
    if all(character in PUNCTUATION for character in name):
        raise _refuse(field, "The user name is made of punctuation only.", "Put at least one letter or number in it.")
    if len(fold(name)) > FOLD_CHARS:
        raise _refuse(field, "The user name is too long when written out.", "Choose a shorter one.")
    return name


def check_display_name(name: str, field: str = "display_name", limit: int = NAME_CHARS) -> str:
    """The display name, trimmed and in NFC; spaces and emoji sequences are possible inside."""
    name = _composed(name, field).strip()
    _check_length(name, field, "name", limit)
    for index, character in enumerate(name):
        if character in " \u3000" or _joins_emoji(name, index):
            continue
        problem = _problem_anywhere(character)
        if problem:
            raise _refuse(field, f"The name contains {describe(character)}, {problem}.", "Leave it out or use a space.")
    return name


def check_bio(text: str, field: str = "bio") -> str:
    """A text of several lines, trimmed; no control or bidirectional characters."""
    text = _composed(text, field).strip()
    if len(text) > BIO_CHARS:
        raise _refuse(field, f"That is {len(text)} characters long.", f"Stay within {BIO_CHARS}.")
    for character in text:
        if unicodedata.category(character) == "Cc" and character not in "\n\t":
            raise _refuse(field, f"The text contains {describe(character)}, a control.", "Leave it out.")
        if unicodedata.bidirectional(character) in _BIDI_CONTROLS:
            raise _refuse(
                field, f"The text contains {describe(character)}, which turns the direction.", "Leave it out."
            )
    return text


def check_tags(tags: list[str], field: str = "tags") -> tuple[str, ...]:
    """At most ten short tags, each once."""
    if len(tags) > TAGS:
        raise _refuse(field, f"There are {len(tags)} tags.", f"Send at most {TAGS}.")
    checked = (check_display_name(tag, field, TAG_CHARS) for tag in tags)
    return tuple(dict.fromkeys(checked))


def check_avatar_url(url: str, field: str = "avatar_url") -> str:
    """An empty text, a path on this server or an https address."""
    if not url:
        return url
    is_path = url.startswith("/") and not url.startswith(("//", "/\\"))
    if len(url) > URL_CHARS or not (is_path or url.startswith("https://")) or not _is_plain(url):
        raise _refuse(
            field,
            "That is not an address of a picture.",
            f"Send a path on this server ('/…') or an 'https://…' address of at most {URL_CHARS} characters.",
        )
    return url


def check_locale(code: str, field: str = "locale") -> str:
    """An empty text (the browser's choice) or a language code such as ``zh_CN``."""
    parts = code.replace("-", "_").split("_")
    if code and (len(code) > 16 or not all(part.isascii() and part.isalnum() for part in parts)):
        raise _refuse(field, "That is not a language code.", "Send one such as 'en_US' or 'zh_CN'.")
    return "_".join(parts)


def is_emoji(text: str) -> bool:
    """Whether a text is emoji only: symbols, those that Unicode will yet assign in their blocks, and their joiners."""
    found = False
    for index, character in enumerate(text):
        if character in _EMOJI_PARTS or 0xE0020 <= ord(character) <= 0xE007F:
            continue
        is_symbol = not character.isascii() and unicodedata.category(character) in ("So", "Sk", "Sm")
        is_drawn_as_one = text[index + 1 : index + 2] in (_EMOJI_PRESENTATION, _KEYCAP) and character.isprintable()
        if not (is_symbol or is_drawn_as_one or _within(ord(character), _GROWING[:1])) or character.isspace():
            return False
        found = True
    return found


def is_visible_at(text: str, index: int) -> bool:
    """Whether the character at a place is seen and read the same by everyone; white space is not."""
    return _joins_emoji(text, index) or not _problem_anywhere(text[index])


def describe(character: str) -> str:
    """A character in words that survive a terminal: code point and Unicode name."""
    code_point = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "") or _CONTROL_NAMES.get(character, "a character without a name")
    return f"{code_point} ({name})"


_EMOJI_PARTS = _ZERO_WIDTH_JOINER + _EMOJI_PRESENTATION + _TEXT_PRESENTATION + _KEYCAP
_CONTROL_NAMES = {"\0": "NULL", "\t": "TAB", "\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\x1b": "ESCAPE"}
_BIDI_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def _problem_in_name(character: str, first: bool) -> str:
    problem = _problem_in_symbol(character)
    if problem:
        return problem
    if first and unicodedata.category(character).startswith("M"):
        return "a mark with nothing before it to stand on"
    # A compatibility character may stand for a space or a slash: what counts is also what it folds to.
    for stands_for in fold(character):
        if stands_for != character and _problem_in_symbol(stands_for):
            return f"which stands for {fold(character)!r}"
    return ""


def _problem_in_symbol(character: str) -> str:
    problem = _problem_anywhere(character)
    if problem or character in PUNCTUATION:
        return problem
    category = unicodedata.category(character)
    if category.startswith("P") or (category.startswith("S") and character.isascii()):
        return "punctuation that user names do not have"
    return ""


def _problem_anywhere(character: str) -> str:
    code_point = ord(character)
    category = unicodedata.category(character)
    if category == "Cc":
        return "a control character"
    if category.startswith("Z"):
        return "a white space"
    if category == "Cf" or _within(code_point, _INVISIBLE):
        return "an invisible or direction-changing character"
    if category == "Cn" and not _within(code_point, _GROWING):
        return "a character that Unicode has not assigned"
    if category in ("Co", "Cs"):
        return "a character that looks different everywhere"
    return ""


def _joins_emoji(name: str, index: int) -> bool:
    if index == 0 or name[index] not in (_ZERO_WIDTH_JOINER, _EMOJI_PRESENTATION):
        return False
    before = name[index - 1]
    follows_symbol = unicodedata.category(before) in ("So", "Sk", "Sm", "Cn") or before in "#*0123456789"
    if name[index] == _EMOJI_PRESENTATION:
        return follows_symbol
    leads_to_symbol = unicodedata.category(name[index + 1 : index + 2] or "a") in ("So", "Sm", "Cn")
    return leads_to_symbol and (follows_symbol or before == _EMOJI_PRESENTATION)


def _within(code_point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= code_point <= high for low, high in ranges)


def _is_plain(text: str) -> bool:
    return all(character.isprintable() and character not in " \\\"'<>" for character in text)


def _composed(text: str, field: str) -> str:
    lone = next((character for character in text if 0xD800 <= ord(character) <= 0xDFFF), None)
    if lone is not None:
        raise _refuse(field, f"There is half a character: {describe(lone)}.", "Send whole characters.")
    return unicodedata.normalize("NFC", text)


def _check_length(name: str, field: str, what: str, limit: int = NAME_CHARS) -> None:
    if not name:
        raise _refuse(field, f"The {what} is empty.", f"Choose one of 1 to {limit} characters.")
    if len(name) > limit:
        raise _refuse(field, f"The {what} has {len(name)} characters.", f"Stay within {limit}.")


def _refuse(field: str, message: str, fix: str) -> Refusal:
    return invalid_parameters(message, fix, fields={field: f"{message} {fix}"})
