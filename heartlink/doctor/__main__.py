"""``python -m heartlink.doctor URL``: examines a server from outside and ends with the class of its verdict."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NoReturn

from heartlink.doctor.address import BadAddress, Target, read_address
from heartlink.doctor.examination import examine
from heartlink.doctor.report import as_json, as_text, ending, step_lines, without
from heartlink.doctor.steps import BUDGET_SECONDS, Options, Step
from heartlink.doctor.verdicts import Kind

BUDGET_LIMITS_SECONDS = (0.5, 120.0)
IDLE_LIMIT_SECONDS = 3600.0
TOKEN_VARIABLE = "DOCTOR_TOKEN"
FAILED_OUTPUT = 74


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the command."""

    def error(self, message: str) -> NoReturn:
        """End with the exit code for a command that was not understood."""
        print(f"heartlink.doctor: {message}. See: python -m heartlink.doctor --help", file=sys.stderr)
        sys.exit(Kind.USAGE.exit_code)


def make_parser() -> Parser:
    """The command line."""
    codes = "\n".join(f"  {kind.exit_code:>3}  {kind.meaning}" for kind in Kind)
    parser = Parser(
        prog="python -m heartlink.doctor",
        description="Examines a HeartLink from outside and says in one sentence what is wrong, and what to do.",
        epilog=f"exit codes:\n{codes}\n\nThe verdicts are in docs/doctor.md, the proxies' files in docs/proxies.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="http, https, ws or wss; a page, a socket, host:port or a name")
    parser.add_argument(
        "--token", default="", help=f"sign in with this token; '-' reads it from stdin, {TOKEN_VARIABLE} does as well"
    )
    parser.add_argument("--room", default="", metavar="ID", help="open this room's socket too")
    parser.add_argument(
        "--idle",
        type=seconds(IDLE_LIMIT_SECONDS),
        default=0.0,
        metavar="SECONDS",
        help="then stay silent for so long, and see whether the socket is cut",
    )
    parser.add_argument(
        "--budget",
        type=seconds(BUDGET_LIMITS_SECONDS[1], BUDGET_LIMITS_SECONDS[0]),
        default=BUDGET_SECONDS,
        metavar="SECONDS",
        help=f"what all steps but --idle may take together (default {BUDGET_SECONDS:g})",
    )
    parser.add_argument("--insecure", action="store_true", help="go on though the certificate is not trusted")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def seconds(high: float, low: float = 0.0) -> type[float]:
    """A reader of a number of seconds from ``low`` to ``high``."""

    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    read.__name__ = "number of seconds"
    return read  # type: ignore[return-value]


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine, print, and return the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    try:
        target = read_address(given.url)
    except BadAddress as problem:
        parser.error(f"the address does not fit: {without(str(problem), given.token)}")
    token = _token(given.token, target)
    options = Options(token, given.room, given.budget, given.idle, given.insecure)
    target = replace(target, token="")
    try:
        return _run(target, options, as_object=given.json)
    except BrokenPipeError:
        # Whoever read this has gone: nothing more is to be said, not by the interpreter either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED_OUTPUT
    except KeyboardInterrupt:
        return 128 + 2


def _token(given: str, target: Target) -> str:
    if given == "-":
        return sys.stdin.readline().strip()
    return given or os.environ.get(TOKEN_VARIABLE, "") or target.token


def _run(target: Target, options: Options, *, as_object: bool) -> int:
    # Somebody who watches sees each step when it is done; into a file or a pipe the conclusion goes first.
    is_watched = sys.stdout.isatty() and not as_object

    def say(lines: Iterable[str]) -> None:
        for line in lines:
            print(without(line, options.token), flush=is_watched)

    def tell(step: Step) -> None:
        if is_watched:
            say(step_lines(step))

    report = asyncio.run(examine(target, options, tell))
    if as_object:
        say([as_json(report)])
    elif is_watched:
        say([report.found.sentence, "", *ending(report)] if report.found.fix else ["", report.found.sentence])
    else:
        say(as_text(report))
    sys.stdout.flush()
    return report.found.verdict.kind.exit_code


if __name__ == "__main__":
    sys.exit(main())
