"""The chapter of `doctor`: what an installation can do, line by line, and what to do about the rest."""

from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, told
from sipit.report.document import Badge, Block, Chapter, Claim, Column, Findings, Section, Table, Theme, Tone
from sipit.report.generic import fields
from sipit.report.reading import mapping, objects, without
from sipit.report.wording import count, do, plain

M = Claim.MEASURED
_TONES = {"ok": Tone.HOLDS, "degraded": Tone.OPEN, "broken": Tone.FAILS}
_SHOWN = {"checks", "abilities", "versions", "devices"}


def installation_chapter(record: Record) -> Chapter:
    """The chapter of a `doctor` record."""
    result = record.result
    checks = objects(result.get("checks"))
    status = {name: [check for check in checks if check.get("status") == name] for name in _TONES}
    blocks: list[Block] = [_table("What was tried", checks)]
    if status["broken"] or status["degraded"]:
        blocks.insert(0, _table("What to do", [*status["broken"], *status["degraded"]], remedies=True))
    for title, name in (("What the body of the model understands", "abilities"), ("Devices", "devices"),
                        ("Versions", "versions")):  # fmt: skip
        found = result.get(name)
        if found:
            about = fields({name: found} if name == "devices" else mapping(found), measured=False)
            blocks.append(Section(title, about))
    blocks += fields(without(result, _SHOWN), measured=None)
    return chapter(
        record,
        Theme.INSTALLATION,
        "What this installation can do",
        _headline(record, status),
        sentences=told(
            M,
            "All of it was tried on this machine, and says nothing of another.",
            *(f"{plain(one.get('name'))}: {plain(one.get('detail'))}." for one in status["broken"]),
        ),
        blocks=blocks,
        findings=_findings(status),
    )


def _headline(record: Record, status: dict[str, list[Any]]) -> str:
    everything = count(sum(map(len, status.values())), "check")
    broken, degraded = len(status["broken"]), len(status["degraded"])
    match record.verdict:
        case Verdict.OK:
            return f"All of {everything} came out well."
        case Verdict.DEGRADED:
            return f"Of {everything} {degraded} {do(degraded, 'find')} something slower or missing; nothing is broken."
        case _:
            return f"Of {everything} {broken} {do(broken, 'find')} something broken."


def _findings(status: dict[str, list[dict[str, Any]]]) -> Findings:
    names = {name: ", ".join(plain(check.get("name")) for check in found) for name, found in status.items()}
    return Findings(
        measured=(f"{count(len(status['ok']), 'part')} of the installation came out well",) if status["ok"] else (),
        broken=(f"broken in the installation: {names['broken']}",) if status["broken"] else (),
        undecided=(f"slower or missing in the installation: {names['degraded']}",) if status["degraded"] else (),
    )


def _table(caption: str, checks: list[dict[str, Any]], *, remedies: bool = False) -> Table:
    rows = []
    for check in checks:
        word = plain(check.get("status"))
        badge = Badge(word, _TONES.get(word, Tone.NEUTRAL))
        rows.append((plain(check.get("name")), badge, plain(check.get("remedy" if remedies else "detail"))))
    heads = ("part", "status", "what to do" if remedies else "what was found")
    return Table(caption, tuple(map(Column, heads)), tuple(rows))
