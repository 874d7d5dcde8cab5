"""The chapters of `invert --diagnose` and of `invert` with a part of the states: what was found of each prompt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from proofs.evidence import Record
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.chapters.inversion import SHOWN, WRONG, badge_of, badge_of_all, chosen, omitted
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Fact,
    Facts,
    Findings,
    Literal,
    Section,
    Table,
    Theme,
    Tone,
    Verbatim,
)
from sipit.report.generic import ROWS, fields
from sipit.report.observed import observed
from sipit.report.reading import mapping, objects, sequence, string, without
from sipit.report.wording import count, do, number, plain

M = Claim.MEASURED
ALTERNATIVES = 5  # of a segment, in a table
_PART = {"outcome", "nearest_token_ids", "nearest_text", "segments", "given", "budget", "seconds", "matches_truth",
         "nearest_matches_truth", "tested", "explanation", "token_ids", "note"}  # fmt: skip
_DIAGNOSIS = {"cause", "rows", "place", "site", "verified", "complete", "sentences", "text", "token_ids", "tried",
              "tolerance", "largest_residual", "smallest_margin", "stored", "arithmetic", "factor", "start",
              "skipped", "chunks", "order", "disguise", "coordinates",
              "open_disguises"}  # fmt: skip
CAUSES = {
    "plain": Badge("plain states", Tone.HOLDS),
    "other_convention": Badge("another convention", Tone.HOLDS),
    "rounding": Badge("coarser numbers", Tone.HOLDS),
    "disguised": Badge("disguised", Tone.HOLDS),
    "unexplained": Badge("not explained", Tone.OPEN),
    "no_convention_fits": Badge("foreign", Tone.FAILS),
}


def partial_chapter(record: Record) -> Chapter:
    """The chapter of an `invert` record with --positions, --prefix or --suffix."""
    prompts = objects(record.result.get("partial"))
    outcomes = Counter(badge_of(prompt).word for prompt in prompts)
    told_of = ", ".join(f"{number_of} {word}" for word, number_of in outcomes.items())
    seen = observed(record.result)
    where = f"a part of the {seen.where} of {subject_of(record)}"
    return chapter(
        record,
        Theme.INVERSION,
        f"{count(len(prompts), 'prompt')} from a part of the {seen.of_all}",
        f"{count(len(prompts), 'prompt')} searched from {where}: {told_of or 'nothing'}.",
        sentences=told(
            M,
            "Tokens between two observed positions are searched together. The nearest prompt is given; it is "
            "verified only where every part was settled by the normal rule or by searching its whole space.",
        ),
        blocks=[*omitted(len(prompts) - SHOWN, "prompt"),
                *(_part(f"Prompt {at}" if len(prompts) > 1 else "The prompt", prompts[at])
                  for at in chosen(list(map(badge_of, prompts))))],
        findings=_findings(prompts, where),
        badge=badge_of_all(record, prompts),
    )  # fmt: skip


def _part(name: str, prompt: Mapping[str, Any]) -> Section:
    matches = prompt.get("nearest_matches_truth", prompt.get("matches_truth"))
    blocks: list[Block] = [
        Verbatim("The nearest prompt", plain(prompt.get("nearest_text"))),
        Facts(
            (
                Fact("what was settled", plain(prompt.get("explanation"))),
                Fact("equals the true text", "not compared" if matches is None else plain(matches)),
                Fact("prompts run and compared", plain(prompt.get("tested")), M),
                Fact("tokens given, by position", plain(prompt.get("given"))),
                Fact("seconds (wall clock)", number(prompt.get("seconds")), M),
                Fact("budget, seconds", number(prompt.get("budget"))),
            )
        ),
    ]
    segments = objects(prompt.get("segments"))
    columns = (
        Column("positions"), Column("outcome"), Column("token ids"), Column("residual", True, M),
        Column("tolerance", True, M), Column("tested", True, M), Column("of", True), Column("how"),
        Column("next best: ids, residual"),
    )  # fmt: skip
    rows = tuple(map(_segment, segments[:ROWS]))
    blocks.append(Table(f"{name}: parts between observed positions", columns, rows, omitted=len(segments) - len(rows)))
    return Section(name, (*blocks, *fields(without(prompt, _PART))), badge_of(prompt))


def _segment(segment: Mapping[str, Any]) -> tuple[Cell, ...]:
    first, last = plain(segment.get("first")), plain(segment.get("last"))
    others = [pair for pair in map(sequence, sequence(segment.get("alternatives"))) if len(pair) == 2]
    return (
        first if first == last else f"{first} to {last}", badge_of(segment), plain(segment.get("token_ids")),
        number(segment.get("residual")), number(segment.get("tolerance")), number(segment.get("tested")),
        number(segment.get("space")), plain(segment.get("reason")),
        "; ".join(f"{plain(ids)}: {number(residual)}" for ids, residual in others[:ALTERNATIVES]),
    )  # fmt: skip


def diagnosis_chapter(record: Record) -> Chapter:
    """The chapter of an `invert --diagnose` record."""
    found = objects(record.result.get("diagnosis"))
    explained = [entry for entry in found if entry.get("complete") is True]
    shared, left = sum(entry.get("shared") is True for entry in explained), len(found) - len(explained)
    subject = subject_of(record)
    which = f"which of the tokens with one embedding row {count(shared, 'tensor')} of states {do(shared, 'come')} from"
    said = f"{len(explained)} of {count(len(found), 'tensor')} of states explained in full as states of {subject}"
    return chapter(
        record,
        Theme.INVERSION,
        "Where foreign states come from",
        f"{said}; it stays open {which}." if shared else f"{said}.",
        sentences=told(
            M,
            "Each was tried as states of every layer, before and after the norm, shifted, scaled and rounded; only "
            "what was recomputed within the tolerance is said.",
        ),
        blocks=[*omitted(len(found) - SHOWN, "tensor"),
                *(_diagnosis(f"States {at}" if len(found) > 1 else "The states", found[at])
                  for at in chosen(list(map(_badge_of_diagnosis, found))))],
        findings=Findings(
            measured=(f"{count(len(explained), 'tensor')} of states explained as states of {subject}",)
            if explained else (),
            undecided=(*((f"where {count(left, 'tensor')} of states {do(left, 'come')} from",) if left else ()),
                       *((which,) if shared else ())),
        ),
    )  # fmt: skip


def _badge_of_diagnosis(entry: Mapping[str, Any]) -> Badge:
    """The badge of a cause, which holds where it explains every row by one token alone."""
    cause = plain(entry.get("cause"))
    badge = CAUSES.get(cause, Badge(cause, Tone.NEUTRAL))
    if badge.tone is not Tone.HOLDS or (entry.get("complete") is True and entry.get("shared") is not True):
        return badge
    return Badge(f"{badge.word}, {'ambiguous' if entry.get('complete') is True else 'in part'}", Tone.OPEN)


def _diagnosis(name: str, entry: Mapping[str, Any]) -> Section:
    blocks: list[Block] = [*told(M, *map(plain, sequence(entry.get("sentences"))))]
    if string(entry.get("text")) is not None:
        blocks.append(Verbatim("The text of the verified rows", plain(entry.get("text"))))
    factor = entry.get("factor")
    facts = (
        Fact("place", plain(entry.get("place"))),
        Fact("rows verified", f"{plain(entry.get('verified'))} of {plain(entry.get('rows'))}", M),
        Fact("largest residual", number(entry.get("largest_residual")), M),
        Fact("tolerance", number(entry.get("tolerance")), M),
        Fact("nearest rival tested", number(entry.get("smallest_margin")), M),
        Fact("factor of the values", "one for each row" if factor is None else number(factor), M),
        Fact("arithmetic", plain(entry.get("arithmetic"))),
        Fact("values lie on the grid of", plain(entry.get("stored"))),
    )
    blocks.append(Facts(facts))
    tried = objects(entry.get("tried"))
    if tried:
        columns = (Column("place"), Column("tokens in front"), Column("first position id", True),
                   Column("rows skipped", True), Column("median distance", True, M),
                   Column("largest", True, M))  # fmt: skip
        rows = tuple(
            (plain(at.get("site")), Literal(plain(mapping(at.get("start")).get("known"))),
             plain(mapping(at.get("start")).get("shift")), plain(at.get("skipped")), number(at.get("median")),
             number(at.get("largest")))
            for at in tried[:ROWS]
        )  # fmt: skip
        blocks.append(Table(f"{name}: conventions tried over the first rows", columns, rows, folded=len(rows) > 8,
                            omitted=len(tried) - len(rows)))  # fmt: skip
    rest = fields({key: value for key, value in without(entry, _DIAGNOSIS).items() if value not in (None, False)})
    return Section(name, (*blocks, *rest), _badge_of_diagnosis(entry))


def _findings(prompts: Sequence[Mapping[str, Any]], where: str) -> Findings:
    badges = list(map(badge_of, prompts))
    tones, wrong = Counter(badge.tone for badge in badges), badges.count(WRONG)

    def told_of(number_of: int, words: str) -> tuple[str, ...]:
        return (f"{count(number_of, 'prompt')} {words} from {where}",) if number_of else ()

    return Findings(
        measured=told_of(tones[Tone.HOLDS], "recovered"),
        broken=(*told_of(wrong, "recovered wrongly"), *told_of(tones[Tone.FAILS] - wrong, "not found")),
        undecided=told_of(tones[Tone.OPEN] + tones[Tone.NEUTRAL], "not settled"),
    )
