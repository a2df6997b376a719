"""What names may be made of, and when two of them are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heartlink.errors import Refusal
from heartlink.names import (
    check_avatar_url,
    check_bio,
    check_display_name,
    check_locale,
    check_tags,
    check_username,
    fold,
)

GOOD_USERNAMES = (
    "a",
    "Ann",
    "ann_1.b-c+d@example.org",
    "林小明",
    "Αθηνά",
    "Ёлка",
    "مريم",
    "नमस्ते",
    "José",
    "straße",
    "🦊fox",
    "a👍🏽",
    "１２",
    "x" * 64,
)


@pytest.mark.parametrize("name", GOOD_USERNAMES)
def test_names_of_the_world_are_possible(name: str) -> None:
    assert check_username(name) == unicodedata.normalize("NFC", name)


BAD_USERNAMES = (
    ("", "empty"),
    ("x" * 65, "65 characters"),
    ("a b", "U+0020 (SPACE)"),
    (" ann", "U+0020 (SPACE)"),
    ("ann\n", "U+000A (LINE FEED)"),
    ("a\tb", "U+0009 (TAB)"),
    ("a\0b", "U+0000 (NULL)"),
    ("a\x1b[31m", "U+001B (ESCAPE)"),
    ("a\x7f", "U+007F"),
    ("a\u00a0b", "NO-BREAK SPACE"),
    ("a\u3000b", "IDEOGRAPHIC SPACE"),
    ("a\u2028b", "LINE SEPARATOR"),
    ("a\u200bb", "ZERO WIDTH SPACE"),
    ("a\u200db", "ZERO WIDTH JOINER"),
    ("a\u2060b", "WORD JOINER"),
    ("a\ufeffb", "ZERO WIDTH NO-BREAK SPACE"),
    ("a\u00adb", "SOFT HYPHEN"),
    ("a\u034fb", "COMBINING GRAPHEME JOINER"),
    ("a\u061cb", "ARABIC LETTER MARK"),
    ("a\u202eb", "RIGHT-TO-LEFT OVERRIDE"),
    ("a\u2066b", "LEFT-TO-RIGHT ISOLATE"),
    ("a\u115fb", "HANGUL CHOSEONG FILLER"),
    ("a\u1160b", "HANGUL JUNGSEONG FILLER"),
    ("\u3164", "HANGUL FILLER"),
    ("\uffa0", "HALFWIDTH HANGUL FILLER"),
    ("a\u17b4", "KHMER VOWEL INHERENT AQ"),
    ("a\u180b", "MONGOLIAN FREE VARIATION SELECTOR ONE"),
    ("\u2800", "BRAILLE PATTERN BLANK"),
    ("a\ufe0f", "VARIATION SELECTOR-16"),
    ("a\U000e0100", "VARIATION SELECTOR-17"),
    ("a\U000e0041", "TAG LATIN CAPITAL LETTER A"),
    ("a\ufffdb", "REPLACEMENT CHARACTER"),
    ("a\ue000b", "U+E000"),
    ("a\U0010ffff", "U+10FFFF"),
    ("a\u0378", "U+0378"),
    ("a\ud800", "U+D800"),
    ("\u0301a", "COMBINING ACUTE ACCENT"),
    ("a/b", "SOLIDUS"),
    ("<script>", "LESS-THAN SIGN"),
    ("a'b", "APOSTROPHE"),
    ('a"b', "QUOTATION MARK"),
    ("a,b", "COMMA"),
    ("a:b", "COLON"),
    ("a&b", "AMPERSAND"),
    ("a$b", "DOLLAR SIGN"),
    ("a\u2100", "stands for 'a/c'"),
    ("a\u00a8", "DIAERESIS"),
    ("a\ufdfa", "stands for"),
    ("a\uff0fb", "FULLWIDTH SOLIDUS"),
    ("...", "punctuation only"),
    ("@", "punctuation only"),
    ("\ufb02" * 64 + "x", "65 characters"),
    ("\u3316" * 64, "too long when written out"),
)


@pytest.mark.parametrize(("name", "said"), BAD_USERNAMES)
def test_a_bad_name_is_refused_and_the_refusal_says_why(name: str, said: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_username(name)
    refusal = caught.value
    assert (refusal.code, refusal.status) == ("invalid_parameters", 400)
    assert said in refusal.message
    assert refusal.fix
    assert refusal.fields is not None and said in refusal.fields["username"]
    refusal.message.encode()


SAME_NAMES = (
    ("Ann", "aNN"),
    ("José", "Jose\u0301"),
    ("straße", "STRASSE"),
    ("ﬁn", "FIN"),
    ("ＡＢ", "ab"),
    ("Ⅷ", "viii"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("ſam", "SAM"),
    ("\u212bngström", "ångström"),
)


@pytest.mark.parametrize(("one", "other"), SAME_NAMES)
def test_names_that_read_the_same_are_the_same(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@given(st.text(max_size=70))
@example("\u03f4\u0345")
@example("\u1e9e\u0149")
def test_folding_is_a_fixed_point_and_never_fails(name: str) -> None:
    folded = fold(name)
    assert fold(folded) == folded
    assert unicodedata.normalize("NFKC", folded) == folded
    assert folded.casefold() == folded


@given(st.text(min_size=1, max_size=20))
def test_what_is_let_in_can_be_seen_and_sent(name: str) -> None:
    try:
        checked = check_username(name)
    except Refusal:
        return
    checked.encode()
    for character in checked + fold(checked):
        assert unicodedata.category(character)[0] in "LMNPSC"
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        assert not character.isspace()
    assert check_username(checked) == checked


def test_a_display_name_is_trimmed_and_may_have_spaces_and_emoji_sequences() -> None:
    assert check_display_name("  Ann  Lee ") == "Ann  Lee"
    assert check_display_name("林\u3000小明") == "林\u3000小明"
    for name in ("I ❤\ufe0f U", "👨\u200d👩\u200d👧", "🏳\ufe0f\u200d🌈", "O'Neil, Dr. (PhD) <3", "1\ufe0f⃣"):
        assert check_display_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "x" * 65,
        "a\nb",
        "a\u202eb",
        "a\u200bb",
        "a\u200db",
        "\u200d",
        "\ufe0fa",
        "a\ufe0f",
        "a\u3164",
        "a\ud83d",
    ],
)
def test_a_display_name_that_hides_something_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_display_name(name)
    assert caught.value.fields is not None and "display_name" in caught.value.fields


def test_a_bio_may_have_lines_but_no_controls() -> None:
    assert check_bio(" two\nlines\t👋 ") == "two\nlines\t👋"
    for text in ("a\0", "a\x1b", "a\u202e", "a\u2067", "a\ud800", "x" * 1001):
        with pytest.raises(Refusal):
            check_bio(text)


def test_tags_are_few_short_and_distinct() -> None:
    assert check_tags([" go ", "go", "chess"]) == ("go", "chess")
    for tags in ([str(n) for n in range(11)], ["x" * 33], [""], ["a\nb"]):
        with pytest.raises(Refusal):
            check_tags(tags)


@pytest.mark.parametrize("url", ["", "/files/a/b.png", "https://example.org/a.png?x=1"])
def test_a_picture_is_here_or_behind_https(url: str) -> None:
    assert check_avatar_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:image/svg+xml,x",
        "http://example.org/a.png",
        "//example.org/a.png",
        "/\\example.org/a",
        "https://example.org/a b",
        'https://example.org/"x',
        "https://example.org/\n",
        "a.png",
        "https://" + "x" * 500,
    ],
)
def test_another_address_of_a_picture_is_refused(url: str) -> None:
    with pytest.raises(Refusal):
        check_avatar_url(url)


def test_a_language_is_a_code() -> None:
    assert [check_locale(code) for code in ("", "en", "zh-CN", "zh_Hans_CN")] == ["", "en", "zh_CN", "zh_Hans_CN"]
    for code in ("../x", "en US", "_", "x" * 17, "中文"):
        with pytest.raises(Refusal):
            check_locale(code)
