"""The laws of the house, read from its imports: ranks, who may touch which library, no hidden state.

Each check takes a tree of files and returns what is wrong with it, so that each can be shown a tree that is bad.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

RANKS = {
    "heartlink": 0,
    "heartlink.errors": 0,
    "heartlink.model": 0,
    "heartlink.settings": 0,
    "heartlink.frames": 0,
    "heartlink.names": 0,
    "heartlink.logs": 0,
    "heartlink.ports": 0,
    "heartlink.disk": 0,
    "heartlink.reach": 1,
    "heartlink.doctor": 1,
    "heartlink.tasks": 0,
    "heartlink.tallies": 0,
    "heartlink.tls": 0,
    "heartlink.refusals": 0,
    "heartlink.protocol": 1,
    "heartlink.rights": 1,
    "heartlink.store": 2,
    "heartlink.rooms": 3,
    "heartlink.connection": 3,
    "heartlink.auth": 3,
    "heartlink.media": 3,
    "heartlink.hub": 4,
    "heartlink.journal": 4,
    "heartlink.chat": 5,
    "heartlink.streams": 5,
    "heartlink.administration": 5,
    "heartlink.policy": 4,
    "heartlink.diagnosis": 5,
    "heartlink.files": 6,
    "heartlink.calls": 6,
    "heartlink.dispatch": 6,
    "heartlink.metrics": 6,
    "heartlink.demo": 6,
    "heartlink.house": 7,
    "heartlink.handlers": 8,
    "heartlink.server": 9,
    "heartlink.backups": 5,
    "heartlink.admin": 9,
    "main": 10,
}
# The words in which every room says no, and the version: open to all ranks, and themselves free of imports.
COMMON = ("heartlink.errors", "heartlink")
ALLOWED_ONLY_IN = {
    "tornado": ("heartlink.handlers", "heartlink.server", "main"),
    "motor": ("heartlink.store.mongo",),
    "pymongo": ("heartlink.store.mongo",),
    "bson": ("heartlink.store.mongo",),
    "gridfs": ("heartlink.store.mongo",),
    "PIL": ("heartlink.media.images",),
    "sqlite3": ("heartlink.store.sqlite",),
    "json": (),
}
PURE = ("heartlink.rooms", "heartlink.rights", "heartlink.model", "heartlink.errors", "heartlink.protocol")
IMPURE_LIBRARIES = {"asyncio", "time", "os", "socket", "random", "secrets", "subprocess", "threading", "pathlib"}
LINES_AT_MOST = 400
LONGER_FILES: tuple[str, ...] = ()
MUTABLE_MAKERS = {"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray"}
STATELESS_MAKERS = {"NewType", "TypeVar", "Encoder", "Decoder"}
IDENTIFIERS = {"room_id", "user_id", "username", "sender", "sender_id"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

Tree = dict[str, ast.Module]
Law = Callable[[Path], list[str]]


def read_tree(root: Path) -> Tree:
    """The parsed modules of the house by dotted name; a house without files is a fault of the check itself."""
    files = [root / "main.py", *sorted((root / "heartlink").rglob("*.py"))]
    tree: Tree = {}
    for path in files:
        if path.exists():
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree[name] = parse(path.read_text(encoding="utf-8"))
    assert len(tree) > 1, f"no files to check under {root}"
    return tree


@functools.cache
def parse(text: str) -> ast.Module:
    """Each file is read by every law, and parsed once."""
    return ast.parse(text)


def imports_of(module: str, tree: Tree) -> Iterator[tuple[str, int]]:
    """Every module that is imported, wherever the import stands, with its line."""
    is_package = any(name.startswith(module + ".") for name in tree)
    for node in ast.walk(tree[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.split(".")
                own = own[: len(own) - node.level + is_package]
                base = ".".join([*own, base] if base else own)
            for alias in node.names:
                yield (f"{base}.{alias.name}" if f"{base}.{alias.name}" in tree else base), node.lineno


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def room_of(module: str) -> str:
    """The room of the house a module stands in: ``heartlink.store.mongo`` is in ``heartlink.store``."""
    return ".".join(module.split(".")[:2])


def imports_only_go_down(root: Path) -> list[str]:
    tree, wrong = read_tree(root), []
    for module in tree:
        if room_of(module) not in RANKS:
            wrong.append(f"{module} has no rank: add it to the table")
            continue
        for target, line in imports_of(module, tree):
            if target.partition(".")[0] not in ("heartlink", "main") or target in COMMON:
                continue
            own, other = room_of(module), room_of(target)
            if other not in RANKS:
                wrong.append(f"{module}:{line} imports {target}, which has no rank")
            elif own != other and RANKS[other] >= RANKS[own]:
                wrong.append(f"{module}:{line} imports {target}: not down")
    return wrong


def imports_make_no_circle(root: Path) -> list[str]:
    tree = read_tree(root)
    edges = {name: {target for target, _ in imports_of(name, tree) if target in tree} for name in tree}
    wrong: list[str] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            wrong.append("a circle: " + " -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in tree:
        visit(name, ())
    return wrong


def libraries_stay_in_their_rooms(root: Path) -> list[str]:
    tree = read_tree(root)
    return [
        f"{module}:{line} imports {target}"
        for module in tree
        for target, line in imports_of(module, tree)
        if (library := target.partition(".")[0]) in ALLOWED_ONLY_IN and not is_in(module, ALLOWED_ONLY_IN[library])
    ]


def the_core_is_pure(root: Path) -> list[str]:
    tree, wrong = read_tree(root), []
    for module in (name for name in tree if is_in(name, PURE)):
        for target, line in imports_of(module, tree):
            if target.partition(".")[0] in IMPURE_LIBRARIES:
                wrong.append(f"{module}:{line} imports {target}")
        for node in ast.walk(tree[module]):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{module}:{node.lineno} waits")
    return wrong


def modules_hold_no_state(root: Path) -> list[str]:
    tree, wrong = read_tree(root), []
    for module, parsed in tree.items():
        for statement in parsed.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for target in targets:
                    name = ast.unparse(target)
                    if is_state(name, statement.value):
                        wrong.append(f"{module}:{statement.lineno} keeps state in '{name}'")
        wrong += [
            f"{module}:{node.lineno} writes to a global" for node in ast.walk(parsed) if isinstance(node, ast.Global)
        ]
    return wrong


def is_state(name: str, value: ast.expr) -> bool:
    """Whether a module-level name could change or is a singleton; constants in CAPS, types and loggers are not."""
    if name.strip("_").isupper() or name.startswith("__"):
        return False
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    if not isinstance(value, ast.Call):
        return False
    made_by = ast.unparse(value.func).rpartition(".")[2]
    return made_by in MUTABLE_MAKERS or (made_by[:1].isupper() and made_by not in STATELESS_MAKERS)


def no_name_is_special(root: Path) -> list[str]:
    tree, wrong = read_tree(root), []
    for module, parsed in tree.items():
        for node in ast.walk(parsed):
            if isinstance(node, ast.Compare) and (text := special_text(node)):
                wrong.append(f"{module}:{node.lineno} treats '{text}' specially")
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and UUID.search(node.value) and module != "heartlink.demo":
                wrong.append(f"{module}:{node.lineno} names an id")
    return wrong


def special_text(node: ast.Compare) -> str:
    """The text that an id or user name is compared with or looked for among, if it is."""
    sides = [node.left, *node.comparators]
    if isinstance(node.ops[0], ast.In | ast.NotIn):
        # "'/' in room_id" looks at the characters of any id; "room_id in ('a', 'b')" knows some by name.
        sides = [node.left, *getattr(node.comparators[0], "elts", [])]
    elif not isinstance(node.ops[0], ast.Eq | ast.NotEq):
        return ""
    if not any(ast.unparse(side).rpartition(".")[2] in IDENTIFIERS for side in sides):
        return ""
    texts = [side.value for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
    return next((text for text in texts if any(map(str.isalnum, text))), "")


def files_stay_short(root: Path) -> list[str]:
    names = sorted((root / "heartlink").rglob("*.py"))
    assert names, f"no files to check under {root}"
    counted = {str(path.relative_to(root)): len(path.read_text().splitlines()) for path in names}
    wrong = [
        f"{name} has {lines} lines: two rooms in one?"
        for name, lines in counted.items()
        if lines > LINES_AT_MOST and name not in LONGER_FILES
    ]
    return wrong + [
        f"{name} is on the list of long files without need"
        for name in LONGER_FILES
        if counted.get(name, 0) <= LINES_AT_MOST
    ]


LAWS: tuple[Law, ...] = (
    imports_only_go_down,
    imports_make_no_circle,
    libraries_stay_in_their_rooms,
    the_core_is_pure,
    modules_hold_no_state,
    no_name_is_special,
    files_stay_short,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps_the_law(law: Law) -> None:
    assert law(ROOT) == []


BROKEN = [
    (imports_only_go_down, "heartlink/rooms.py", "from heartlink.hub import Hub", "heartlink.hub: not down"),
    (imports_only_go_down, "heartlink/hub.py", "import heartlink.journal", "heartlink.journal: not down"),
    (imports_only_go_down, "heartlink/hub.py", "def f():\n    from heartlink import chat", "hub:2 imports"),
    (imports_only_go_down, "heartlink/auth/door.py", "from ..chat import say", "auth.door:1 imports heartlink.chat"),
    (imports_only_go_down, "heartlink/attic.py", "", "heartlink.attic has no rank"),
    (imports_only_go_down, "heartlink/store/a.py", "import main", "imports main: not down"),
    (imports_make_no_circle, "heartlink/store/a.py", "from heartlink.store import b", "a circle: "),
    (libraries_stay_in_their_rooms, "heartlink/hub.py", "import tornado.ioloop", "hub:1 imports tornado"),
    (libraries_stay_in_their_rooms, "heartlink/store/users.py", "from bson import ObjectId", "imports bson"),
    (libraries_stay_in_their_rooms, "heartlink/store/mongo.py", "import sqlite3", "imports sqlite3"),
    (libraries_stay_in_their_rooms, "heartlink/handlers/api.py", "import json", "imports json"),
    (the_core_is_pure, "heartlink/rooms.py", "import time", "rooms:1 imports time"),
    (the_core_is_pure, "heartlink/rights.py", "async def f():\n    pass", "rights:1 waits"),
    (modules_hold_no_state, "heartlink/hub.py", "sockets = {}", "keeps state in 'sockets'"),
    (modules_hold_no_state, "heartlink/hub.py", "sockets: set[int] = set()", "keeps state in 'sockets'"),
    (modules_hold_no_state, "heartlink/hub.py", "hub = Hub()", "keeps state in 'hub'"),
    (modules_hold_no_state, "heartlink/hub.py", "def f():\n    global n\n    n = 1", "hub:2 writes to a global"),
    (no_name_is_special, "heartlink/chat.py", 'x = room_id == "lobby"', "treats 'lobby' specially"),
    (no_name_is_special, "heartlink/chat.py", 'x = "root" != who.username', "treats 'root' specially"),
    (no_name_is_special, "heartlink/chat.py", 'x = room_id in ("a", "b")', "treats 'a' specially"),
    (no_name_is_special, "heartlink/chat.py", 'X = "e3aee9e3-99e1-428b-8e09-fb6389db5bef"', "names an id"),
    (files_stay_short, "heartlink/chat.py", "\n" * 401, "heartlink/chat.py has 401 lines"),
]


@pytest.mark.parametrize(("law", "path", "text", "expected"), BROKEN)
def test_a_broken_law_is_noticed(tmp_path: Path, law: Law, path: str, text: str, expected: str) -> None:
    sound = {
        "main.py": "import heartlink.server",
        "heartlink/__init__.py": "",
        "heartlink/server.py": "from heartlink.chat import say",
        "heartlink/chat.py": "from heartlink.errors import no\nLIMIT = 5",
        "heartlink/journal.py": "",
        "heartlink/store/__init__.py": "",
        "heartlink/store/b.py": "from heartlink.store.a import x",
    }
    for name, content in {"heartlink/store/a.py": "", **sound}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert law(tmp_path) == []
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert any(expected in line for line in law(tmp_path)), law(tmp_path)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_a_check_without_files_fails(tmp_path: Path, law: Law) -> None:
    with pytest.raises(AssertionError, match="no files to check"):
        law(tmp_path)
