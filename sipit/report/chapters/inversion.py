"""The chapter of `invert`: every prompt with its text, token by token, and the gap that every decision rests on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.chapters.other import generic_chapter
from sipit.report.chapters.positions import SERIES, Position, overview, read_positions, series
from sipit.report.document import (
    Badge,
    Block,
    Chapter,
    Claim,
    Column,
    Fact,
    Facts,
    Figure,
    Findings,
    Level,
    LogPlot,
    Paragraph,
    Section,
    Table,
    Theme,
    Token,
    Tokens,
    Tone,
    Verbatim,
)
from sipit.report.generic import ROWS, fields
from sipit.report.observed import observed
from sipit.report.reading import mapping, objects, real, sequence, string, without
from sipit.report.wording import count, number, plain, spread

M = Claim.MEASURED
SHOWN = 40  # prompts that a page shows one by one
SHORT = 16  # positions up to which a table is open from the start
WRONG = Badge("not the true text", Tone.FAILS)
_WORST_FIRST = (Tone.FAILS, Tone.OPEN, Tone.NEUTRAL, Tone.HOLDS)

_SHOWN = {"outcome", "token_ids", "text", "alternatives", "tokens", "forward_passes", "token_positions",
          "candidates_tested", "seconds", "matches_truth", "explanation", "largest_residual", "smallest_margin",
          "pieces", "text_is_prompt", "note", "working_text"}  # fmt: skip


def inversion_chapter(record: Record) -> Chapter:
    """The chapter of an `invert` record; the generic one where it has no prompts."""
    result = record.result
    prompts = objects(result.get("prompts"))
    if not prompts or len(prompts) != len(sequence(result.get("prompts"))):
        return generic_chapter(record)
    tolerance = mapping(result.get("tolerance"))
    level = real(tolerance.get("value"))
    read = [read_positions(prompt) for prompt in prompts]
    shown = chosen(list(map(badge_of, prompts)))
    blocks: list[Block] = [_summary(prompts, read), *overview(read, shown, level)] if len(prompts) > 1 else []
    blocks += omitted(len(prompts) - len(shown), "prompt")
    blocks += [
        _prompt("The prompt" if len(prompts) == 1 else f"Prompt {at}", prompts[at], read[at], level) for at in shown
    ]
    blocks.append(Section("Settings", (Facts(_about(result, tolerance)),), folded=True))
    rest = without(result, {"layer", "observation", "policy", "tolerance", "prompts", "glimpse"})
    if rest:
        blocks.append(Section("The rest of the record", fields(rest), folded=True))
    return chapter(
        record,
        Theme.INVERSION,
        f"Inversion of {count(len(prompts), 'prompt')}",
        _headline(record, prompts, read),
        sentences=_sentences(record, prompts, read, level),
        blocks=blocks,
        findings=_findings(record, prompts, read),
        badge=badge_of_all(record, prompts),
    )


def chosen(badges: Sequence[Badge]) -> list[int]:
    """Which of so many a page shows one by one: all of a few; of many the worst, and of those alike the first."""
    worst_first = sorted(range(len(badges)), key=lambda at: _WORST_FIRST.index(badges[at].tone))
    return sorted(worst_first[:SHOWN])


def omitted(number_of: int, what: str) -> list[Paragraph]:
    """What a page says of those that it leaves out."""
    told_of = f"{count(number_of, f'more {what}')} in the record; the worst are shown."
    return [Paragraph(told_of)] if number_of > 0 else []


def _findings(record: Record, prompts: Sequence[Mapping[str, Any]], read: Sequence[Sequence[Position]]) -> Findings:
    where = f"the {observed(record.result).where} of {subject_of(record)}"
    whole = [positions if all(position.resolved for position in positions) else [] for positions in read]
    back = [positions for prompt, positions in zip(prompts, whole, strict=True)
            if positions and badge_of(prompt).tone is Tone.HOLDS]  # fmt: skip
    wrong = sum(badge_of(prompt) == WRONG for prompt in prompts)
    lost = len(prompts) - len(back) - wrong
    recovered = (f"{count(len(back), 'prompt')} ({count(sum(map(len, back)), 'token')}) recovered from {where}",)
    left = f"{count(lost, 'prompt')} not recovered from {where}"
    failed = record.verdict.exit_status == 1
    broken = (f"{count(wrong, 'prompt')} recovered wrongly from {where}" if wrong else "",
              left if lost and failed else "")  # fmt: skip
    return Findings(
        measured=recovered if back else (),
        broken=tuple(filter(None, broken)),
        undecided=(left,) if lost and not failed else (),
    )


def _headline(record: Record, prompts: Sequence[Mapping[str, Any]], read: Sequence[Sequence[Position]]) -> str:
    outcomes = Counter(badge_of(prompt).word for prompt in prompts)
    total = sum(len(positions) for positions in read)
    resolved = sum(position.resolved for positions in read for position in positions)
    tokens = f"{resolved} of {count(total, 'token')}"
    if record.verdict is Verdict.RECOVERED and set(outcomes) == {"recovered"} and resolved == total:
        who = "The prompt was" if len(prompts) == 1 else f"All {len(prompts)} prompts were"
        return f"{who} recovered from the {observed(record.result).of_all}: {tokens}, each verified by recomputation."
    if set(outcomes) == {WRONG.word} and len(prompts) == 1:
        return f"What was recovered is not the true text; {tokens} resolved."
    found = outcomes.pop("recovered", 0)
    others = ", ".join(f"{how_many} {outcome}" for outcome, how_many in outcomes.items())
    if len(prompts) == 1:
        return f"The prompt was not recovered: {others or 'positions are missing'}; {tokens} resolved."
    return f"{found} of {len(prompts)} prompts recovered, {others or 'positions are missing'}; {tokens} resolved."


def _sentences(
    record: Record, prompts: Sequence[Mapping[str, Any]], read: Sequence[Sequence[Position]], level: float | None
) -> list[Paragraph]:
    accepted = [position for positions in read for position in positions if position.resolved]
    residuals = [position.residual for position in accepted if position.residual is not None]
    margins = [position.margin for position in accepted if position.margin is not None]
    failed = [prompt for prompt in prompts if prompt.get("outcome") == record.verdict != Verdict.RECOVERED]
    sentences = [plain(prompt["explanation"]) for prompt in failed[:1] if prompt.get("explanation")]
    wrong = sum(badge_of(prompt) == WRONG for prompt in prompts)
    right = sum(prompt.get("matches_truth") is True for prompt in prompts)
    if wrong:
        sentences.append(f"Attention: {count(wrong, 'prompt')} called recovered differ from the true text.")
    elif right:
        sentences.append(f"Compared with the true text: {right} of {len(prompts)} the same, token for token.")
    if residuals and margins:
        reached = f"miss what was observed by at most {number(max(residuals))} (relative L2)"
        sentences.append(
            f"The accepted tokens {reached if max(residuals) > 0 else 'reproduce what was observed bit for bit'}; "
            f"up to {number(level)} is within the tolerance; the nearest rival tested is {number(min(margins))} away."
        )
    if accepted:
        rivals = min(position.rivals_tested for position in accepted)
        arithmetic = string(record.provenance.get("dtype"))
        sentences.append(
            f"This is measured, not proved: from the {observed(record.result).where}"
            + (f", in {arithmetic}" if arithmetic else "")
            + f", against at least {count(rivals, 'rival')} at every resolved position."
        )
    return told(M, *sentences)


def _observed(result: Mapping[str, Any]) -> str:
    """The tensors that were observed; records from before there were several are of the residual stream."""
    entry = mapping(result.get("observation"))
    sites, top = sequence(entry.get("sites")), entry.get("top")
    named = ", ".join(map(plain, sites)) or "residual"
    return named if top is None else f"{named}, the {plain(top)} largest"


def _about(result: Mapping[str, Any], tolerance: Mapping[str, Any]) -> tuple[Fact, ...]:
    kind = plain(tolerance.get("kind"))
    return (
        Fact("observed", _observed(result)),
        Fact("layer", plain(result.get("layer"))),
        Fact("policy", plain(result.get("policy"))),
        Fact("tolerance, relative L2", number(tolerance.get("value")), M if kind == "measured" else None),
        Fact("tolerance comes from", f"{kind}: {plain(tolerance.get('derived_from'))}"),
        *(Fact(f"tolerance {key.replace('_', ' ')}", number(value))
          for key, value in without(tolerance, {"value", "kind", "derived_from", "left_out"}).items()),
        *(Fact("left out of the tolerance", plain(way)) for way in sequence(tolerance.get("left_out"))),
    )  # fmt: skip


def _summary(prompts: Sequence[Mapping[str, Any]], read: Sequence[Sequence[Position]]) -> Table:
    columns = (
        Column("prompt", True), Column("outcome"), Column("tokens resolved", True),
        Column("largest residual", True, M), Column("nearest rival", True, M),
        Column("forward passes", True), Column("candidates tested", True), Column("seconds", True, M),
        Column("equals the truth"),
    )  # fmt: skip
    rows = tuple(
        (
            str(index), badge_of(prompt), f"{sum(position.resolved for position in positions)} / {len(positions)}",
            number(prompt.get("largest_residual")), number(prompt.get("smallest_margin")),
            number(prompt.get("forward_passes")), number(prompt.get("candidates_tested")),
            number(prompt.get("seconds")), _truth(prompt),
        )
        for index, (prompt, positions) in enumerate(zip(prompts[:ROWS], read[:ROWS], strict=True))
    )  # fmt: skip
    return Table("All prompts", columns, rows, omitted=len(prompts) - len(rows))


def _prompt(name: str, prompt: Mapping[str, Any], positions: Sequence[Position], level: float | None) -> Section:
    blocks: list[Block] = [Paragraph(plain(prompt.get("explanation")))] if prompt.get("explanation") else []
    if badge_of(prompt) == WRONG:
        blocks.append(Paragraph("Attention: this differs from the true text."))
    if prompt.get("text_is_prompt") is False:
        blocks.append(Paragraph("The text is not the prompt: the tokenizer makes other ids of it than those found."))
    text = string(prompt.get("text"))
    whole = bool(positions) and all(position.resolved for position in positions)
    if positions:
        blocks.append(Tokens(f"{name}, token by token", tuple(map(_token, positions))))
    if text is not None and whole and text != "".join(position.piece or "" for position in positions):
        blocks.append(Verbatim("The text as a whole", text))
    working = string(prompt.get("working_text"))
    if working is not None and text is None:
        blocks.append(Verbatim("Not verified: what the nearest tokens spell", working))
    chart = _chart(name, positions, level)
    blocks += [chart] if chart is not None else []
    blocks.append(Facts(_facts(prompt)))
    if positions:
        blocks.append(_evidence(name, positions))
    rest = without(prompt, _SHOWN)
    if rest:
        blocks.append(Section(f"The rest of the record on {name[:1].lower()}{name[1:]}", fields(rest), folded=True))
    return Section(name, tuple(blocks), badge_of(prompt))


def badge_of(entry: Mapping[str, Any]) -> Badge:
    """The badge of an outcome; one that is not known claims nothing, and a wrong token is never a success."""
    outcome = string(entry.get("outcome")) or "no outcome"
    if outcome == "recovered" and entry.get("matches_truth") is False:
        return WRONG
    known = {verdict.value: verdict for verdict in Verdict}
    return Badge.of(known[outcome]) if outcome in known else Badge(outcome, Tone.NEUTRAL)


def badge_of_all(record: Record, prompts: Sequence[Mapping[str, Any]]) -> Badge:
    """The badge of the verdict, or of a prompt that is worse than it: no verdict looks at the true text."""
    each = [badge_of(prompt) for prompt in prompts]
    worst = min((Badge.of(record.verdict), *each), key=lambda badge: _WORST_FIRST.index(badge.tone))
    return Badge(f"{worst.word}: {each.count(worst)} of {count(len(each), 'prompt')}", worst.tone)


def _token(position: Position) -> Token:
    number_of = f"id {position.token_id}" if position.token_id is not None else "no token"
    tested = f"{count(position.rivals_tested, 'rival')}, {count(position.candidates_tested, 'candidate')} tested"
    nearest = "residual" if position.resolved else "residual of the nearest, not accepted,"
    allowed = f" of {number(position.tolerance)} allowed" if position.tolerance is not None else ""
    details = [
        f"position {position.index} · {number_of} · {position.badge.word}",
        f"{nearest} {number(position.residual)}{allowed} · nearest rival {number(position.margin)} · {tested}",
    ]
    return Token(position.index, position.shown, position.badge, (*details, *position.alternatives))


def _chart(name: str, positions: Sequence[Position], level: float | None) -> Figure | None:
    found = series(positions)
    if not any(value is not None for one in found for value in one.values):
        return None
    holes = tuple(at for at, position in enumerate(positions) if not position.resolved)
    residuals = [position.residual for position in positions if position.resolved and position.residual is not None]
    margins = [position.margin for position in positions if position.margin is not None]
    parts: list[str] = []
    if residuals:
        parts.append(f"residuals of accepted tokens {spread(residuals)}")
    if level is not None:
        parts.append(f"tolerance {number(level)}")
    if margins:
        parts.append(f"nearest rivals {spread(margins)}")
    parts.append(f"{count(len(holes), 'position')} unresolved" if holes else "no position unresolved")
    return Figure(
        title=f"{name}: how far the token and its nearest rival are from what was observed",
        description=f"Relative L2 distance at {count(len(positions), 'position')}: {'; '.join(parts)}.",
        chart=LogPlot("position", found, Level("tolerance", level) if level is not None and level > 0 else None, holes),
        claim=M,
    )


def _facts(prompt: Mapping[str, Any]) -> tuple[Fact, ...]:
    return (
        Fact("largest residual", number(prompt.get("largest_residual")), M),
        Fact("nearest rival tested", number(prompt.get("smallest_margin")), M),
        Fact("forward passes", number(prompt.get("forward_passes"))),
        Fact("token positions computed", number(prompt.get("token_positions"))),
        Fact("candidates tested", number(prompt.get("candidates_tested"))),
        Fact("seconds (wall clock)", number(prompt.get("seconds")), M),
        Fact("equals the true text", _truth(prompt)),
    )


def _truth(prompt: Mapping[str, Any]) -> str:
    matches = prompt.get("matches_truth")
    return "not compared" if matches is None else plain(matches)


def _evidence(name: str, positions: Sequence[Position]) -> Table:
    remarks = any(position.alternatives for position in positions)
    allowed = any(position.tolerance is not None for position in positions)
    columns = (
        Column("position", True), Column("token"), Column("id", True), Column("outcome"),
        Column(SERIES[0], True, M), *((Column("allowed", True, M),) if allowed else ()), Column(SERIES[1], True, M),
        Column("rivals tested", True), Column("candidates tested", True),
        *((Column("alternatives, and why"),) if remarks else ()),
    )  # fmt: skip
    rows = tuple(
        (
            str(position.index), position.cell, plain(position.token_id), position.badge,
            number(position.residual), *((number(position.tolerance),) if allowed else ()), number(position.margin),
            str(position.rivals_tested), str(position.candidates_tested),
            *(("; ".join(position.alternatives),) if remarks else ()),
        )
        for position in positions
    )  # fmt: skip
    return Table(f"{name}: evidence for every position", columns, rows, folded=len(rows) > SHORT)
