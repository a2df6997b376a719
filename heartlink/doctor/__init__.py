"""The doctor at the command line: says in one sentence what is wrong between here and a server, and what to do."""

from __future__ import annotations

from heartlink.doctor.address import BadAddress, Target, read_address
from heartlink.doctor.examination import Report, examine
from heartlink.doctor.steps import BUDGET_SECONDS, Options, Step
from heartlink.doctor.verdicts import VERDICTS, Found, Kind, Verdict

__all__ = [
    "BUDGET_SECONDS",
    "VERDICTS",
    "BadAddress",
    "Found",
    "Kind",
    "Options",
    "Report",
    "Step",
    "Target",
    "Verdict",
    "examine",
    "read_address",
]
