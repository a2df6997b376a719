"""Care of the embedded store at the command line: ``python -m heartlink.admin backup|check|restore|new-epoch``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from heartlink.backups import Problem, back_up, check_archive, check_folder, restore
from heartlink.backups.contents import Contents
from heartlink.errors import StartupFailure, StoreFault
from heartlink.store.meta import renew_epoch
from heartlink.store.opening import make_backend
from heartlink.store.tables import ALL

EPILOG = """\
A backup is one tar file: the database as it was at one moment, and every file of its messages. It can be made while
the server runs. The key that signs tokens is not in it; after a restore everybody signs in again.
On MongoDB use mongodump and mongorestore, then: python -m heartlink.admin new-epoch --mongo-url=mongodb://...
Exit codes: 0 done and well, 1 something is wrong with what was checked, 2 it could not be done.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        code: int = asyncio.run(asked.run(asked))
        return code
    except (Problem, StartupFailure) as problem:
        return _fail(str(problem))
    except StoreFault as fault:
        return _fail(f"The store does not answer: {fault}")
    except KeyboardInterrupt:
        return _fail("Stopped.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m heartlink.admin",
        description="Backups of the embedded store.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", type=Path, default=Path("data"), help="the data folder (default ./data)")

    command = commands.add_parser("backup", parents=[shared], help="write a backup, also while the server runs")
    command.add_argument("--to", type=Path, help="the file to write (default heartlink-<time>.tar here)")
    command.set_defaults(run=_backup)

    command = commands.add_parser("check", parents=[shared], help="check a data folder, or a backup")
    command.add_argument("backup", type=Path, nargs="?", help="a backup to check instead of the data folder")
    command.set_defaults(run=_check)

    command = commands.add_parser("restore", parents=[shared], help="put a backup in place; the server is stopped")
    command.add_argument("backup", type=Path, help="the file that backup has written")
    command.add_argument("--replace", action="store_true", help="put aside what is in the data folder now")
    command.set_defaults(run=_restore)

    command = commands.add_parser(
        "new-epoch", parents=[shared], help="tell clients that the store was replaced; the server is stopped"
    )
    command.add_argument("--mongo-url", default="", help="the MongoDB that was restored, instead of the data folder")
    command.set_defaults(run=_new_epoch)
    return parser


async def _backup(asked: argparse.Namespace) -> int:
    target = asked.to or Path(time.strftime("heartlink-%Y%m%dT%H%M%SZ.tar", time.gmtime()))
    made = await back_up(asked.data_dir, target, _say)
    _say(
        f"Wrote {target}: {made.rooms} rooms, {made.messages} messages, {made.users} users, {made.files} files, "
        f"{made.bytes / 2**20:.1f} MiB. Try it: python -m heartlink.admin check {target}"
    )
    return 0


async def _check(asked: argparse.Namespace) -> int:
    if asked.backup is None:
        what, contents = str(asked.data_dir), await check_folder(asked.data_dir)
    else:
        what = str(asked.backup)
        manifest, contents = await check_archive(asked.backup)
        _say(f"{what} was made at {manifest.created_at} by HeartLink {manifest.written_by}")
    return _judge(what, contents)


def _judge(what: str, contents: Contents) -> int:
    for line in contents.problems:
        _say(f"WRONG: {line}")
    counts = (
        f"{contents.rooms} rooms, {contents.messages} messages, {contents.users} users, {len(contents.files)} files"
    )
    if contents.problems:
        _say(f"{what}: {len(contents.problems)} problems ({counts}). Restore a backup that is well.")
        return 1
    _say(f"{what} is well: {counts}.")
    return 0


async def _restore(asked: argparse.Namespace) -> int:
    epoch = await restore(asked.backup, asked.data_dir, replace=asked.replace, report=_say)
    _say(f"Restored into {asked.data_dir} under the new epoch {epoch}. Everybody signs in again; start the server.")
    return 0


async def _new_epoch(asked: argparse.Namespace) -> int:
    backend = make_backend(mongo_url=asked.mongo_url, data_dir=asked.data_dir)
    try:
        await backend.open(ALL)
        _say(f"{backend.name} has the new epoch {await renew_epoch(backend)}.")
    finally:
        await backend.close()
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _fail(line: str) -> int:
    print("heartlink.admin:", " ".join(line.split()), file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
