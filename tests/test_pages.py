"""What pages are made of: every word has its translation, every picture and script is there, the policy can hold."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from heartlink.handlers.base.wording import translate_refusal

PACKAGE = Path(__file__).parents[1] / "heartlink"
TEMPLATES = sorted((PACKAGE / "templates").glob("*.html"))
SCRIPTS = sorted((PACKAGE / "static" / "js").rglob("*.js"))
STRING = r'"((?:[^"\\]|\\.)*)"'


def chinese() -> dict[str, str]:
    with (PACKAGE / "locale" / "zh_CN.csv").open(encoding="utf-8", newline="") as lines:
        return {row[0]: row[1] for row in csv.reader(lines)}


def words_of_pages() -> list[str]:
    found = [word for page in TEMPLATES for word in re.findall(rf"_\({STRING}\)", page.read_text("utf-8"))]
    return found + [word for script in SCRIPTS for word in re.findall(rf"\bt\(\s*{STRING}", script.read_text("utf-8"))]


def test_every_word_has_its_translation() -> None:
    words = words_of_pages()
    assert len(words) > 100
    assert sorted(set(words) - set(chinese())) == []


def test_translations_keep_the_places_of_values() -> None:
    rows = chinese()
    assert rows
    for english, translated in rows.items():
        places = re.compile(r"\{\w+\}")
        # A translation of what the server says may leave a detail out; it must not invent one.
        wanted, got = set(places.findall(english)), set(places.findall(translated))
        assert got <= wanted if english.startswith("server:") else got == wanted, english


def test_refusals_speak_chinese() -> None:
    told = translate_refusal(
        chinese(), "You are not a member of the room '茶馆'.", "Check the address.", "not_a_member"
    )
    assert told == ("你不是房间“茶馆”的成员。", "请检查地址。")
    unknown = translate_refusal(chinese(), "Something new.", "Do something new.", "forbidden")
    assert unknown == (chinese()["code:forbidden"], "")
    assert translate_refusal({}, "As it is.", "So be it.", "forbidden") == ("As it is.", "So be it.")


@pytest.mark.parametrize("page", TEMPLATES, ids=lambda page: page.name)
def test_the_policy_can_hold(page: Path) -> None:
    """No inline script, style or handler: the content security policy forbids them."""
    text = page.read_text("utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text)
    for script in re.findall(r"<script[^>]*>", text):
        assert "src=" in script or 'type="application/json"' in script


def test_scripts_never_parse_markup() -> None:
    parsers = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert SCRIPTS
    for script in SCRIPTS:
        assert not parsers.search(script.read_text("utf-8")), script


def test_scripts_import_what_exists() -> None:
    for script in SCRIPTS:
        for name in re.findall(r'from "(\.[^"]+)"|^import "(\.[^"]+)"', script.read_text("utf-8"), re.MULTILINE):
            assert (script.parent / "".join(name)).is_file(), f"{script.name} imports {name}"


def test_the_library_knows_no_page() -> None:
    library = [PACKAGE / "static/js/heartlink.js", *(PACKAGE / "static/js/lib").glob("*.js")]
    assert len(library) > 5
    for script in library:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", script.read_text("utf-8"), flags=re.DOTALL)
        assert "page/" not in text
        # The one exception reads a cookie, where there is a document at all.
        assert not re.search(r"(?<!globalThis\.)\bdocument\b|\bwindow\b|querySelector", text), script


def test_every_drawing_is_on_the_sheet() -> None:
    sheet = (PACKAGE / "static" / "icons.svg").read_text("utf-8")
    names = set(re.findall(r'<symbol id="([\w-]+)"', sheet))
    in_page, in_script = re.compile(r"icons\.svg'\) \}\}#([\w-]+)"), re.compile(r'icon(?:Button)?\(\s*"([\w-]+)"')
    used = {name for page in TEMPLATES for name in in_page.findall(page.read_text("utf-8"))}
    used |= {name for script in SCRIPTS for name in in_script.findall(script.read_text("utf-8"))}
    assert len(used) > 10
    assert used <= names


def test_emoji_have_names_in_both_languages() -> None:
    data = json.loads((PACKAGE / "static" / "data" / "emoji.json").read_text("utf-8"))
    assert data["source"].startswith("emojibase-data@")
    assert len(data["emoji"]) > 1500
    characters = [character for character, *_ in data["emoji"]]
    assert len(set(characters)) == len(characters)
    codes = [code for _, _, _, _, codes, *_ in data["emoji"] for code in codes.split()]
    assert len(set(codes)) == len(codes), "a shortcode means one emoji"
    assert {"smile", "+1", "heart"} <= set(codes)
    for character, group, label, _, _, *tones in data["emoji"]:
        assert not tones or len({character, *tones[0]}) == 6, character
        assert 0 <= group < len(data["groups"]), character
        assert label["en"], character
        assert label["zh"], character
    # Some are called the same in both: "OK", "SOS".
    named = sum(bool(re.search("[\u4e00-\u9fff]", label["zh"])) for _, _, label, *_ in data["emoji"])
    assert named > 0.98 * len(characters)
    assert set(data["groups"]) <= set(chinese())
