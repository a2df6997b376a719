"""The documents say what is so: settings, commands, links, decisions, dependencies."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from heartlink.settings import entries, markdown_table

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh-CN.md")
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
START = "pip install -e . && python main.py --port=8000"
TEST = "pip install -e '.[test]' && pytest"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    """What stands in the fenced blocks of a document."""
    return re.findall(r"^```\w*\n(.*?)^```", read(name), re.MULTILINE | re.DOTALL)


def test_the_settings_are_those_of_the_table() -> None:
    assert markdown_table() in read("docs/configuration.md")
    known = {entry.flag for entry in entries()} | {"--help", "--version"}
    for name in (*READMES, "docs/configuration.md"):
        mentioned = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", read(name)))
        assert mentioned, f"{name} mentions no flag"
        assert mentioned <= known, f"{name} mentions {mentioned - known}"


def test_both_readmes_give_the_same_commands() -> None:
    english, chinese = ([block for block in blocks(name) if "const " not in block] for name in READMES)
    assert english == chinese
    assert f"{START}\n" in english
    assert f"{TEST}\n" in english


def test_the_test_command_is_where_the_run_of_all_checks_looks_for_it() -> None:
    assert f"<!-- tests -->\n```\n{TEST}\n```\n" in read("README.md")
    assert 'readme_commands "tests"' in read(".ci/run")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if not target.startswith(("http://", "https://", "#")):
            path, _, _ = target.partition("#")
            assert ((ROOT / name).parent / path).exists(), f"{name} links to {target}"


def test_every_decision_is_listed() -> None:
    decisions = {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}
    assert decisions
    assert decisions == set(re.findall(r"\((0[^)]*\.md)\)", read("docs/adr/README.md")))


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    reasons = read("docs/adr/0006-dependencies.md")
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        name = re.split(r"[<>=\[]", requirement, maxsplit=1)[0]
        assert re.search(rf"^\|.*\b{re.escape(name)}\b.*\|", reasons, re.MULTILINE), f"{name} has no reason"
        assert re.search(r"[<=]", requirement), f"{name} is not pinned"
