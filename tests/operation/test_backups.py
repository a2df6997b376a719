"""Backups of the embedded store: made under load, checked, restored; and the stamp of its format."""

from __future__ import annotations

import asyncio
import io
import stat
import subprocess
import sys
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from heartlink.backups.archive import DATABASE, FILES, MANIFEST
from heartlink.errors import StartupFailure
from heartlink.store.backend import Backend, Document
from heartlink.store.folder import RESTORING_FILE, DataFolder
from heartlink.store.formats import FORMAT, Stamp, bring_up_to_date, read_stamp
from heartlink.store.meta import read_epoch
from heartlink.store.sqlite import SqliteBackend
from heartlink.store.sqlite.connection import PAGE_BYTES
from heartlink.store.tables import ALL, META, POLICY_COMMITS
from tests.actors import PASSWORD, Server

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 60
LEAVES = b"leaves " * 1000


async def run(*arguments: str | Path) -> tuple[int, str]:
    """The command line in a process of its own: exit code, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "heartlink.admin",
        *map(str, arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def make_backup(folder: Path, target: Path) -> None:
    """A server with one room and three messages, and a backup of it."""
    server = await Server(folder).open()
    try:
        ann = await server.person("ann")
        chair = await ann.sits_in(await ann.opens(name="Tea", room_id="tea"))
        for number in range(3):
            await chair.says(f"m{number}")
        sent = await ann.asks("POST", "/api/rooms/tea/files?name=tea.txt", LEAVES)
        assert sent.status == 201, sent
    finally:
        await server.close()
    code, said = await run("backup", "--data-dir", folder, "--to", target)
    assert code == 0, said


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup that no test changes."""
    folder = tmp_path_factory.mktemp("backup")
    asyncio.run(make_backup(folder / "data", folder / "backup.tar"))
    return folder / "backup.tar"


@pytest.mark.gen_test(timeout=60)
async def test_a_backup_made_while_people_talk_is_restored_and_clients_notice(tmp_path: Path) -> None:
    last = 190
    server = await Server(tmp_path / "data", messages_per_second=0).open()
    ann = await server.person("ann")
    room = await ann.opens(name="Tea")
    chair = await ann.sits_in(room)
    talked, backed_up = asyncio.Event(), asyncio.Event()

    async def talk() -> None:
        for number in range(1, last + 1):
            if number == last - 5:
                await backed_up.wait()
            await chair.sends({"content": f"m{number}", "client_id": f"c{number}"})
            await chair.hears_message(client_id=f"c{number}", is_own=True)
            if number == 20:
                talked.set()

    talking = asyncio.create_task(talk())
    await talked.wait()
    target = tmp_path / "backup.tar"
    code, said = await run("backup", "--data-dir", tmp_path / "data", "--to", target)
    assert code == 0, said
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert (await run("check", "--data-dir", tmp_path / "data"))[0] == 0
    backed_up.set()
    await talking
    epoch = chair.greeting["epoch"]
    await server.close()
    assert (await run("check", target))[0] == 0

    code, said = await run("restore", target, "--data-dir", tmp_path / "data", "--replace")
    assert code == 0, said
    server = await Server(tmp_path / "data").open()
    try:
        assert (await server.holding({"token": ann.token, "user": ann.user}).asks("GET", "/api/me")).status == 401
        signed_in = await server.stranger().asks("POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
        ann = server.holding(signed_in.json)
        chair = await ann.sits_in(room, f"?since={last}&epoch={epoch}")
        assert (chair.greeting["resume"], chair.greeting["resume_reason"]) == ("full", "epoch_changed")
        history = (await ann.asks("GET", f"/api/rooms/{room}/messages?after=0&limit=200")).json
        assert history["epoch"] not in ("", epoch)
        kept = len(history["messages"])
        assert 20 <= kept < last
        assert [message["content"] for message in history["messages"]] == [f"m{n}" for n in range(1, kept + 1)]
        # What came after the backup is sent again by whoever still holds it, and stored once.
        await chair.sends({"content": f"m{kept}", "client_id": f"c{kept}"})
        assert (await chair.hears("chat_message", duplicate=True))["message"]["client_id"] == f"c{kept}"
        await chair.sends({"content": f"m{last}", "client_id": f"c{last}"})
        assert (await chair.hears_message(client_id=f"c{last}"))["id"] == kept + 1
    finally:
        await server.close()
    [aside] = (tmp_path / "data").glob("before-restore-*")
    assert {path.name for path in aside.iterdir()} >= {DATABASE, "secret.key"}


def spoiled(backup: Path) -> list[tuple[str, bytes | None, str]]:
    """Backups with which something is wrong: a name, the bytes, and words of the refusal."""
    content = backup.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(b"SQLite format 3") + 100] ^= 1
    foreign = io.BytesIO(content)
    with tarfile.open(fileobj=foreign, mode="a") as tar:
        tar.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    newer = io.BytesIO()
    with tarfile.open(backup) as old, tarfile.open(fileobj=newer, mode="w") as tar:
        for member in old:
            reader = old.extractfile(member)
            assert reader is not None
            body = reader.read()
            if member.name == MANIFEST:
                body = body.replace(b'"format": %d' % FORMAT, b'"format": 99')
                member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return [
        ("missing", None, "There is no backup"),
        ("empty", b"", "cannot be read as a backup"),
        ("cut", content[: len(content) // 2], "cannot be read as a backup"),
        ("without its end", content[: content.rindex(MANIFEST.encode())], "cut off"),
        ("flipped", bytes(flipped), "digest differs"),
        ("foreign", foreign.getvalue(), "not in its manifest"),
        ("newer", newer.getvalue(), "newer HeartLink"),
    ]


@pytest.mark.gen_test(timeout=60)
async def test_what_cannot_be_restored_changes_nothing(backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name, made, words in spoiled(backup):
        path = tmp_path / name
        if made is not None:
            path.write_bytes(made)
        code, said = await run("restore", path, "--data-dir", data)
        assert (code, words in " ".join(said.split())) == (2, True), (name, said)
        assert not (data / DATABASE).exists()
        assert not (tmp_path / "escaped").exists()

    code, said = await run("restore", backup, "--data-dir", data)
    assert code == 0, said
    before = (data / DATABASE).read_bytes()
    code, said = await run("restore", backup, "--data-dir", data)
    assert code == 2 and "--replace" in said
    lock = DataFolder(data)
    lock.open()
    code, said = await run("restore", backup, "--data-dir", data, "--replace")
    assert code == 2 and "already used by another HeartLink" in said
    lock.close()
    assert (data / DATABASE).read_bytes() == before
    assert stat.S_IMODE((data / DATABASE).stat().st_mode) == 0o600


@pytest.mark.gen_test(timeout=60)
async def test_a_server_does_not_start_on_half_a_restore(backup: Path, tmp_path: Path) -> None:
    (tmp_path / RESTORING_FILE).touch()
    with pytest.raises(StartupFailure, match="Run the restore again"):
        await Server(tmp_path).open()
    assert (await run("restore", backup, "--data-dir", tmp_path, "--replace"))[0] == 0
    server = await Server(tmp_path).open()
    signed_in = await server.stranger().asks("POST", "/api/auth/login", {"username": "ann", "password": PASSWORD})
    ann = server.holding(signed_in.json)
    [message] = [m for m in (await ann.asks("GET", "/api/rooms/tea/messages")).json["messages"] if m["file"]]
    assert (await ann.asks("GET", message["file_url"])).body == LEAVES
    await server.close()


@pytest.mark.gen_test(timeout=60)
async def test_check_tells_what_is_wrong(backup: Path, tmp_path: Path) -> None:
    code, said = await run("check", "--data-dir", tmp_path / "nothing")
    assert code == 2 and "no HeartLink database" in said
    await run("restore", backup, "--data-dir", tmp_path)
    assert (await run("check", "--data-dir", tmp_path))[0] == 0
    [leaves] = [path for path in (tmp_path / FILES).glob("*/*") if path.stat().st_size == len(LEAVES)]
    leaves.write_bytes(LEAVES.upper())
    code, said = await run("check", "--data-dir", tmp_path)
    assert code == 1 and "its digest differs" in said
    leaves.write_bytes(LEAVES[:-1])
    code, said = await run("check", "--data-dir", tmp_path)
    assert code == 1 and f"has {len(LEAVES) - 1} bytes" in said
    leaves.unlink()
    code, said = await run("check", "--data-dir", tmp_path)
    assert code == 1 and "is missing" in said
    code, said = await run("backup", "--data-dir", tmp_path, "--to", tmp_path / "of-what-is-damaged.tar")
    assert code == 2 and "missing" in said and not (tmp_path / "of-what-is-damaged.tar").exists()
    leaves.write_bytes(LEAVES)
    backend = SqliteBackend(DataFolder(tmp_path))
    await backend.open(ALL)
    assert await backend.delete(POLICY_COMMITS, f"{1:012d}")
    await backend.close()
    code, said = await run("check", "--data-dir", tmp_path)
    assert code == 1 and "Between the versions 0 and 2" in said
    database = tmp_path / DATABASE
    content = database.read_bytes()
    # Whatever lies where: of every second page the head is gone.
    pages = [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]
    database.write_bytes(b"".join(page if at < 2 or at % 2 else bytes(64) + page[64:] for at, page in enumerate(pages)))
    code, said = await run("check", "--data-dir", tmp_path)
    assert code == 1 and "WRONG" in said


# --- the stamp -----------------------------------------------------------------------------------------


@pytest.mark.gen_test(timeout=30)
async def test_the_stamp_of_the_format(tmp_path: Path) -> None:
    done: list[int] = []

    def step(number: int) -> Callable[[Backend], Awaitable[None]]:
        async def upgrade(backend: Backend) -> None:
            done.append(number)

        return upgrade

    async def opened(**more: Any) -> Stamp | None:
        backend = SqliteBackend(DataFolder(tmp_path))
        await backend.open(ALL)
        try:
            await bring_up_to_date(backend, **more)
            await read_epoch(backend)
            return await read_stamp(backend)
        finally:
            await backend.close()

    steps = {number: step(number) for number in (1, 2, 3)}
    stamp = await opened(format=3, upgrades=steps)
    assert stamp is not None and (stamp.format, done) == (3, [])
    stamp = await opened(format=4, upgrades=steps)
    assert stamp is not None and (stamp.format, done) == (4, [3])
    with pytest.raises(StartupFailure, match=r"newer HeartLink \(.*, format 4\); this is .* up to format 3"):
        await opened(format=3, upgrades=steps)
    # One that is older than stamps.
    backend = SqliteBackend(DataFolder(tmp_path))
    await backend.open(ALL)
    await backend.delete(META, "format")
    await backend.close()
    assert await opened(format=4, upgrades=steps) == Stamp(4, stamp.written_by)
    assert done == [3, 1, 2, 3]


@pytest.mark.gen_test(timeout=30)
async def test_a_newer_store_is_refused_at_the_start(tmp_path: Path) -> None:
    server = await Server(tmp_path).open()
    await server.house.backend.put(META, Document("format", {}, b'{"format":99,"written_by":"9.9.9"}'))
    await server.close()
    with pytest.raises(StartupFailure, match=r"newer HeartLink \(9\.9\.9, format 99\)"):
        await Server(tmp_path).open()
