"""`lingen doctor`."""

from __future__ import annotations

from lingen_cli.commands.options import AsJson
from lingen_cli.errors import NotAvailableError
from lingen_cli.terminal import console


def doctor(
    as_json: AsJson = False,
) -> None:
    """Check whether this machine can make videos.

    Exits with 69 if it cannot; a hint is something that would make it faster.
    """
    from dataclasses import asdict

    from lingen_cli.planning.diagnose import diagnose

    findings = []
    for finding in diagnose():
        findings.append(finding)
        if not as_json:
            console.result(f"{finding.state:<9}{finding.check:<17}{finding.detail}")
    if as_json:
        console.record([asdict(finding) for finding in findings])
    problems = [finding.check for finding in findings if finding.state == "problem"]
    if problems:
        raise NotAvailableError(f"cannot make videos here: {', '.join(problems)}")
    console.note("lingen: this machine can make videos")
