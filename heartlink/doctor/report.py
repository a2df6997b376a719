"""A report as text for people and as JSON for programs; a secret that was given is in neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from heartlink.doctor.examination import Report
from heartlink.doctor.remedies import lines_for
from heartlink.doctor.steps import Step

_MARKS: Final = {"ok": "ok     ", "note": "note   ", "failed": "FAILED ", "skipped": "-      "}
NAME_CHARS: Final = 14


def step_line(step: Step) -> str:
    """A step on one line."""
    took = f"  ({step.took_ms:.1f} ms)" if step.took_ms >= 0.05 else ""
    return f"{_MARKS[step.state]} {step.name:<{NAME_CHARS}} {step.text}{took}"


def step_lines(step: Step) -> Iterator[str]:
    """A step with its remedy; that of the step that failed is told at the end."""
    yield step_line(step)
    if step.fix and step.state == "note":
        yield f"{'':{len(_MARKS['ok']) + NAME_CHARS + 1}} → {step.fix}"


def conclusion(report: Report) -> str:
    """The one sentence."""
    return report.found.sentence


def closing_lines(report: Report) -> Iterator[str]:
    """What to do, and the proxies' lines where they mend it."""
    found = report.found
    if found.fix:
        yield f"What to do: {found.fix}"
    if found.verdict.mends:
        for name, lines in lines_for(found.verdict.mends, report.server).items():
            yield ""
            yield f"{name}:"
            yield from (f"    {line}" for line in lines.splitlines())
        yield ""
        yield "(127.0.0.1:8000 stands for HeartLink's address; docs/proxies.md has whole files.)"


def as_text(report: Report) -> Iterator[str]:
    """All of it, with the conclusion first and last."""
    yield conclusion(report)
    yield ""
    for step in report.steps:
        yield from step_lines(step)
    yield ""
    yield from ending(report)


def ending(report: Report) -> Iterator[str]:
    """What follows the steps: remedy, conclusion and the time it took."""
    remedy = list(closing_lines(report))
    yield from remedy
    if remedy:
        yield ""
    yield conclusion(report)


def as_json(report: Report) -> str:
    """All of it as one object (docs/doctor.md)."""
    found = report.found
    record = {
        "address": report.target.origin,
        "verdict": found.verdict.code,
        "class": found.verdict.kind.name.lower(),
        "exit_code": found.verdict.kind.exit_code,
        "conclusion": found.sentence,
        "fix": found.fix,
        "seen": {name: str(value) for name, value in found.seen.items()},
        "lines": lines_for(found.verdict.mends, report.server) if found.verdict.mends else {},
        "steps": [
            {"name": step.name, "state": step.state, "text": step.text, "ms": round(step.took_ms, 2), "fix": step.fix}
            for step in report.steps
        ],
        "took_ms": round(report.took_ms, 1),
    }
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode()


def without(text: str, secret: str) -> str:
    """A text in which a secret does not stand."""
    return text.replace(secret, "…") if secret else text
