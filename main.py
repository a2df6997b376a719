"""Starts HeartLink: ``python main.py --port=8000``."""

from __future__ import annotations

import os
import signal
import sys


def leave_early(signal_number: int, frame: object) -> None:
    """Ends before anything is open; the server puts its own handlers in place of this one."""
    os._exit(0)


def main() -> int:
    """Flags to settings to serving; returns the exit code (PROTOCOL 7)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave_early)
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it without installing meets this line
        return refuse(f"Python {sys.version.split()[0]} is too old: HeartLink needs 3.11 or newer.")
    arguments = sys.argv[1:]
    try:
        from heartlink import __version__
        from heartlink.errors import StartupFailure
        from heartlink.settings import help_text, read_settings

        if "--help" in arguments or "-h" in arguments:
            print(help_text())
            return 0
        if "--version" in arguments:
            print(f"HeartLink {__version__}")
            return 0
        try:
            settings = read_settings(arguments, os.environ)
            # Only now, so that a mistyped flag is answered before a whole server is imported.
            from heartlink.server import serve

            return serve(settings)
        except StartupFailure as failure:
            return refuse(str(failure))
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "heartlink":
            raise
        return refuse(f"The package '{missing.name}' is not installed. Install first: pip install -e .")


def refuse(line: str) -> int:
    """Says on one line of stderr why it does not start, and returns the exit code for that."""
    print("heartlink:", " ".join(line.split()), file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
