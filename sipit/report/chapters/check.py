"""The chapter of `check`: which hypotheses of the theorems an architecture, and its weights, meet."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from proofs.kernel.regularity import in_words
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of
from sipit.report.document import (
    Badge,
    Block,
    Chapter,
    Claim,
    Column,
    Fact,
    Facts,
    Findings,
    Paragraph,
    Section,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, fields, idealised, table
from sipit.report.reading import integer, mapping, objects, sequence, string, without
from sipit.report.wording import count, do, number, plain

P = Claim.PROVED
ALWAYS = "collide for every parameter value"
_SHOWN = {"regularity", "obstructions", "witness", "conditions", "idealisations", "positions", "structural_collisions",
          "collisions_undecided", "duplicate_embeddings", "layer"}  # fmt: skip


def check_chapter(record: Record) -> Chapter:
    """The chapter of a `check` record."""
    result = record.result
    blocks: list[Block] = [Facts(_about(result)), _analyticity(result), _collisions(result), _embeddings(result)]
    blocks += idealised(result)
    rest = fields(without(result, _SHOWN))
    blocks += [Section("The rest of the record", rest, folded=True)] if rest else []
    return chapter(
        record,
        Theme.ASSUMPTIONS,
        "Assumptions of the theorems",
        _headline(record),
        sentences=_sentences(record),
        blocks=blocks,
        findings=_findings(record),
        found=_found(record),
    )


def _found(record: Record) -> str:
    """What the verdict is about."""
    families = len(objects(record.result.get("structural_collisions")))
    groups = len(sequence(mapping(record.result.get("duplicate_embeddings")).get("groups")))
    match record.verdict:
        case Verdict.PROVED:
            return "analytic, no exact collisions"
        case Verdict.REFUTED:
            parts = ("not analytic" if own_witness(record.result) else "",
                     f"exact collisions: {count(families, 'family', 'families')}" if families else "",
                     f"equal embedding rows: {count(groups, 'group')}" if groups else "")  # fmt: skip
            return ", ".join(filter(None, parts))
        case _:
            analytic = record.result.get("regularity") == "analytic" and undecided_collisions(record.result)
            return "analytic, exact collisions undecided" if analytic else "no proof, no counterexample"


def _findings(record: Record) -> Findings:
    result, subject = record.result, subject_of(record)
    regularity = string(result.get("regularity"))
    failing = [f"in {subject} {found}" for found in refuting(result)]
    opened = [f"whether prompts of {subject} {ALWAYS}"] if undecided_collisions(result) else []
    if regularity == "analytic":
        return Findings(proved=(f"the states of {subject} are a real-analytic function of its parameters",),
                        broken=tuple(failing), undecided=tuple(opened))  # fmt: skip
    if not failing:
        opened.insert(0, f"whether the states of {subject} are a real-analytic function of its parameters")
    return Findings(broken=tuple(failing), undecided=tuple(opened))


def _headline(record: Record) -> str:
    subject = subject_of(record)
    match record.verdict:
        case Verdict.PROVED:
            return f"Every hypothesis that was checked is proved for {subject}."
        case Verdict.REFUTED:
            return f"{subject} violates a hypothesis: {' and '.join(refuting(record.result)) or 'see below'}."
        case _:
            if undecided_collisions(record.result):
                return f"The hypotheses stay undecided for {subject}: it is not known whether prompts {ALWAYS}."
            return f"The hypotheses stay undecided for {subject}: no proof, and no counterexample."


def undecided_collisions(result: Mapping[str, Any]) -> str:
    """Why it is undecided which prompts always collide; empty where it is decided."""
    return string(result.get("collisions_undecided")) or ""


def own_witness(result: Mapping[str, Any]) -> bool:
    """Whether a witness is of the network itself, and not of a small copy, which says nothing of the large one."""
    return mapping(result.get("witness")).get("subject") == "this graph"


def refuting(result: Mapping[str, Any]) -> list[str]:
    """What a hypothesis of the theorems fails by, as clauses."""
    families = len(objects(result.get("structural_collisions")))
    groups = len(sequence(mapping(result.get("duplicate_embeddings")).get("groups")))
    found: list[str] = []
    if own_witness(result):
        found.append("the map is not analytic, by a certified witness")
    if families:
        found.append(
            f"{count(families, 'family', 'families')} of prompts {do(families, 'collide')} for every parameter value"
        )
    if groups:
        found.append(f"{count(groups, 'group')} of tokens {do(groups, 'share')} one embedding row")
    return found


def _sentences(record: Record) -> list[Paragraph]:
    result = record.result
    regularity = string(result.get("regularity")) or "not said"
    obstructions = len(objects(result.get("obstructions")))
    opened = len(sequence(mapping(result.get("conditions")).get("open")))
    known = f"The map from parameters to the state at layer {plain(result.get('layer'))} {in_words(regularity)}"
    if regularity in {"unproved", "not said"}:
        known = "No regularity of the map is proved"
    why = "Analytic means: given by convergent power series. Two different prompts then have different states for all "
    why += "parameters but a set of measure zero, unless they collide for every parameter value."
    return [
        Paragraph(f"{known}; {_left(obstructions, 'obstruction')} and {_left(opened, 'open condition')} remain.",
                  None if regularity in {"unproved", "not said"} else P),
        Paragraph(why if regularity == "analytic" else ""),
        Paragraph("This is over the real numbers, for the idealised network: rounding is another matter."),
    ]  # fmt: skip


def _left(number_of: int, what: str) -> str:
    return count(number_of, what) if number_of else f"no {what}"


def _about(result: Mapping[str, Any]) -> tuple[Fact, ...]:
    conditions = mapping(result.get("conditions"))
    discharged = conditions.get("discharged")
    done = len(discharged) if isinstance(discharged, list) else integer(discharged)
    return (
        Fact("layer", plain(result.get("layer"))),
        Fact(
            "class of the map",
            plain(result.get("regularity")),
            P if result.get("regularity") != "unproved" else None,
        ),
        Fact("side conditions discharged", number(done), P),
        Fact("side conditions open", str(len(sequence(conditions.get("open"))))),
        Fact("positions", plain(result.get("positions"))),
    )


def _analyticity(result: Mapping[str, Any]) -> Section:
    obstructions, opened = sequence(result.get("obstructions")), sequence(mapping(result.get("conditions")).get("open"))
    blocks: list[Block] = []
    if obstructions:
        blocks.append(_any_table("Obstructions", obstructions))
    if opened:
        blocks.append(_any_table("Open side conditions", opened))
    if not blocks:
        blocks.append(Paragraph("No obstruction, and no open side condition."))
    witness = mapping(result.get("witness"))
    if witness:
        of = "Witness that the failure is real" if own_witness(result) else "Witness on a small copy"
        blocks.append(Section(of, fields(witness)))
    clear = not obstructions and not opened
    failed = Badge("refuted", Tone.FAILS) if own_witness(result) else Badge("open", Tone.OPEN)
    tone = Badge("clear", Tone.HOLDS) if clear else failed
    return Section("Analyticity", tuple(blocks), tone)


def _collisions(result: Mapping[str, Any]) -> Section:
    families, reason = sequence(result.get("structural_collisions")), undecided_collisions(result)
    if reason:
        found = Paragraph(f"Undecided, and so nothing is said of them: {reason}.")
        return Section("Structural collisions", (found,), Badge("undecided", Tone.OPEN))
    if not families:
        found = Paragraph("No structural collision family is known for this architecture.")
        return Section("Structural collisions", (found,), Badge("none found", Tone.NEUTRAL))
    badge = Badge(count(len(families), "family", "families"), Tone.FAILS)
    return Section("Structural collisions", (_any_table("They hold for every parameter value", families),), badge)


def _embeddings(result: Mapping[str, Any]) -> Section:
    title = "Duplicate embedding rows"
    data = mapping(result.get("duplicate_embeddings"))
    if not data:
        return Section(title, (Paragraph("Not looked at: there are no weights."),), Badge("no weights", Tone.NEUTRAL))
    groups, names = sequence(data.get("groups")), sequence(data.get("tokens"))
    facts = Facts(
        tuple(Fact(label, plain(data.get(key)), P) for key, label in (("rows", "rows"), ("unique_rows", "unique rows")))
    )
    blocks: list[Block] = [facts]
    if groups:
        named = [sequence(names[at]) if at < len(names) else [] for at in range(len(groups))]
        rows = tuple(
            (str(len(sequence(group))), plain(group), " ".join(f"“{plain(name)}”" for name in of))
            for group, of in zip(groups[:ROWS], named, strict=False)
        )
        columns = (Column("tokens", True), Column("ids"), Column("as text"))
        caption = "Groups of tokens that no method can tell apart"
        blocks.append(Table(caption, columns, rows, omitted=len(groups) - len(rows)))
    blocks += fields(without(data, {"rows", "unique_rows", "groups", "tokens"}), depth=1)
    badge = Badge(count(len(groups), "group"), Tone.FAILS) if groups else Badge("none", Tone.HOLDS)
    return Section(title, tuple(blocks), badge)


def _any_table(caption: str, entries: list[Any]) -> Table:
    """A table of entries, those that are no objects in a column of their own."""
    return table(caption, [entry if isinstance(entry, dict) and entry else {"entry": entry} for entry in entries])
