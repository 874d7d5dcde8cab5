"""The chapter of `collide`: the closest pairs, every collision with its cause, and what finding none allows."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Fact,
    Facts,
    Figure,
    Findings,
    Level,
    Literal,
    LogPlot,
    Paragraph,
    Section,
    Series,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import ROWS, fields
from sipit.report.reading import integer, mapping, objects, real, sequence, string, without
from sipit.report.wording import count, do, number, plain

M = Claim.MEASURED
_SHOWN = {"verdict", "prompts", "pairs", "layers", "collisions", "bound", "bound_reason", "searches"}
_PAIR_COLUMNS = (Column("distance", True, M), Column("first"), Column("prompt"), Column("second"), Column("prompt"))
LONGEST_CHART = 512  # tokens
DUPLICATE_ROWS = "duplicate rows"  # as records call this cause


def collisions_chapter(record: Record) -> Chapter:
    """The chapter of a `collide` record."""
    result = record.result
    blocks: list[Block] = [_overview(result)]
    blocks += [_layer(layer) for layer in objects(result.get("layers"))]
    hits = objects(result.get("collisions"))
    if hits:
        blocks.append(_hits("Collisions, each run again alone", hits))
    blocks += [_search(name, mapping(found)) for name, found in mapping(result.get("searches")).items()]
    rest = fields(without(result, _SHOWN))
    blocks += [Section("The rest of the record", rest, folded=True)] if rest else []
    return chapter(
        record,
        Theme.COLLISIONS,
        "Search for collisions",
        _headline(record),
        sentences=_sentences(result),
        blocks=blocks,
        findings=_findings(record),
        found=_found(record),
    )


def _found(record: Record) -> str:
    """What the verdict is about."""
    prompts = integer(record.result.get("prompts"))
    colliding = list(map(_colliding, objects(record.result.get("layers"))))
    most, least, layer = max(colliding, key=lambda found: found[0], default=(0, False, ""))
    if record.verdict is not _of_prompts(record):
        return "among prompts that were searched for"
    if record.verdict is Verdict.COLLISION and most:
        return f"{'at least ' if least else ''}{count(most, 'pair')} at layer {layer}"
    return "" if prompts is None else f"among {count(prompts, 'prompt')}"


def _colliding(layer: Mapping[str, Any]) -> tuple[int, bool, str]:
    """How many pairs collide at a layer, whether there may be more, and its name; a record lists no more than some."""
    known = integer(mapping(layer.get("known_to_collide")).get("pairs")) or 0
    within = integer(mapping(layer.get("outside")).get("below_threshold")) or 0
    left = integer(layer.get("unexamined")) or 0
    confirmed = max(0, within - left - len(sequence(layer.get("not_confirmed"))))
    return known + confirmed, left > 0, plain(layer.get("layer"))


def _findings(record: Record) -> Findings:
    result = record.result
    layers = [plain(layer.get("layer")) for layer in objects(result.get("layers"))]
    where = f" of {subject_of(record)}"
    if layers:
        where += f" at layer{'s' if len(layers) > 1 else ''} {', '.join(layers)}"
    prompts = integer(result.get("prompts"))
    compared = "the prompts" if prompts is None else count(prompts, "prompt")
    found = _searched(result)
    beside = tuple(f"some prompts of the search {name} collide{where}" for name in found[Verdict.COLLISION])
    left = tuple(f"whether close pairs of the search {name} collide{where}" for name in found[Verdict.UNDECIDED])
    match _of_prompts(record):
        case Verdict.SEPARATED:
            measured = (f"no two of {compared} share a state{where}",)
            return Findings(measured=measured, broken=beside, undecided=left, proved=_proved(result))
        case Verdict.COLLISION:
            broken = (f"some of {compared} collide at states{where}", *beside)
            more = (f"whether further close pairs of {compared} collide{where}",) if _unexamined(result) else ()
            return Findings(broken=broken, undecided=(*more, *left), proved=_proved(result))
        case _:
            return Findings(broken=beside, undecided=(f"whether some close pairs of {compared} collide{where}", *left))


def _unexamined(result: Mapping[str, Any]) -> bool:
    """Whether close pairs were left unexamined at a layer, which a collision at it or another outweighs."""
    return any(integer(layer.get("unexamined")) for layer in objects(result.get("layers")))


def _of_prompts(record: Record) -> Verdict:
    """The verdict of the prompts alone; that of the record counts what searches made as well."""
    told = record.result.get("verdict")  # which earlier versions did not write
    return next((verdict for verdict in Verdict if verdict == told), record.verdict)


def _searched(result: Mapping[str, Any]) -> dict[Verdict, list[str]]:
    """The searches that found collisions among the prompts that they made, and those that left pairs unexamined."""
    found: dict[Verdict, list[str]] = {Verdict.COLLISION: [], Verdict.UNDECIDED: []}
    for name, one in mapping(result.get("searches")).items():
        verdict = mapping(one).get("verdict")
        if verdict == Verdict.COLLISION:
            found[Verdict.COLLISION].append(name)
        if verdict == Verdict.UNDECIDED or _unexamined(mapping(one)):
            found[Verdict.UNDECIDED].append(name)
    return found


def _known(result: Mapping[str, Any], cause: str | None = None) -> list[int]:
    """By layer how many pairs are known to collide over the real numbers, for one cause or for any."""
    known = [mapping(layer.get("known_to_collide")) for layer in objects(result.get("layers"))]
    told = [layer.get("pairs") if cause is None else mapping(layer.get("causes")).get(cause) for layer in known]
    return [integer(pairs) or 0 for pairs in told]


def _equal_rows(result: Mapping[str, Any]) -> int:
    """Pairs that collide at every layer because their tokens have equal rows, which was compared exactly."""
    return min(_known(result, DUPLICATE_ROWS), default=0)


def _proved(result: Mapping[str, Any]) -> tuple[str, ...]:
    rows = _equal_rows(result)
    return (f"{count(rows, 'pair')} {do(rows, 'collide')} because of equal embedding rows",) if rows else ()


def _headline(record: Record) -> str:
    prompts = integer(record.result.get("prompts"))
    what = "Prompts" if prompts is None else f"All pairs of {count(prompts, 'prompt')}"
    found = _searched(record.result)
    beside = [f"; {name} found some that do" for name in found[Verdict.COLLISION]]
    beside += [f"; {name} left close pairs unexamined" for name in found[Verdict.UNDECIDED]]
    rest = "".join(beside) + "."
    match _of_prompts(record):
        case Verdict.COLLISION:
            more = ", and further close pairs were left unexamined" if _unexamined(record.result) else ""
            return f"{what} were compared: some collide{more}{rest}"
        case Verdict.SEPARATED:
            return f"{what} were compared: none collide{rest}"
        case _:
            return f"{what} were compared: some close pairs were left unexamined{rest}"


def _sentences(result: Mapping[str, Any]) -> list[Paragraph]:
    layers = objects(result.get("layers"))
    known = max(_known(result), default=0)
    hits = max((integer(mapping(layer.get("outside")).get("below_threshold")) or 0 for layer in layers), default=0)
    causes = sorted({plain(hit.get("cause")) for hit in objects(result.get("collisions"))})
    pairs = integer(result.get("pairs"))
    compared = "All pairs" if pairs is None else count(pairs, "pair")
    found = [Paragraph(f"{compared} a layer, each decided exactly for the stored states.", M)]
    found += _told_of_known(result, known) if known else []
    others = "all other pairs" if known else "them"
    most = ", at the layer where most did" if hits and len(layers) > 1 else ""
    found.append(
        Paragraph(f"Of {others} {hits or 'none'} came within the threshold{_times_the_noise(layers)}{most}.", M)
    )
    if causes:
        found.append(Paragraph(f"Causes of the listed collisions: {', '.join(causes)}."))
    bound = real(result.get("bound"))
    reason = string(result.get("bound_reason"))
    if reason:
        found.append(Paragraph(reason if bound is None else f"{reason} The probability is {number(bound)}."))
    return found


def _told_of_known(result: Mapping[str, Any], known: int) -> list[Paragraph]:
    """What is known to collide, and what of it is proved: families are believed beyond the lengths that were shown."""
    rows = _equal_rows(result)
    where = "At the layer with the most of them " if len(_known(result)) > 1 else ""
    told = f"{where}{count(known, 'pair is', 'pairs are')} known to collide over the real numbers, whatever the other "
    told += "weights; rounding may split them, and they are set apart."
    if known > rows:
        told += " Families are shown at two short lengths, and believed of others; how far windows reach was tried."
    collide = f"{count(rows, 'pair')} {do(rows, 'collide')}"
    proved = f"{collide} at every layer: token by token the embedding rows are equal."
    return [Paragraph(told), *([Paragraph(proved, Claim.PROVED)] if rows else [])]


def _times_the_noise(layers: list[dict[str, Any]]) -> str:
    """What the threshold is beside the noise: one multiple at every layer, unless somebody chose a threshold."""
    noise = [(real(layer.get("noise")) or 0.0) * (real(layer.get("median_norm")) or 0.0) for layer in layers]
    found = [real(layer.get("threshold")) for layer in layers]
    times = [one / of for one, of in zip(found, noise, strict=True) if one is not None and of > 0]
    if not times:
        return ""
    low, high = number(min(times)), number(max(times))
    return f", which is {low if low == high else f'from {low} to {high}'} times the measured noise of a median state"


def _overview(result: Mapping[str, Any]) -> Table:
    columns = (
        Column("layer", True), Column("minimum", True, M), Column("minimum of the others", True, M),
        Column("over median norm", True, M), Column("threshold", True), Column("within it", True, M),
        Column("bit-identical", True, M), Column("known to collide", True),
        Column("co-Lipschitz, edit", True, M), Column("Hamming", True, M),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for layer in objects(result.get("layers")):
        outside, margin = mapping(layer.get("outside")), mapping(layer.get("separation_margin"))
        ratios = mapping(outside.get("co_lipschitz"))
        values = (
            layer.get("layer"), layer.get("minimum_distance"), outside.get("minimum_distance"),
            margin.get("over_median_norm"), layer.get("threshold"), layer.get("below_threshold"),
            layer.get("bit_identical"), mapping(layer.get("known_to_collide")).get("pairs"), ratios.get("edit"),
            ratios.get("hamming"),
        )  # fmt: skip
        rows.append(tuple(number(value) for value in values))
    caption = "Absolute L2 distances by layer; “the others” are the pairs that are not known to collide over the reals"
    return Table(caption, columns, tuple(rows))


def _layer(layer: Mapping[str, Any]) -> Section:
    outside = mapping(layer.get("outside"))
    ratios = mapping(outside.get("co_lipschitz"))
    kind = "exact: all pairs" if ratios.get("exact") is True else "an upper bound, from a sample and the closest pairs"
    causes = mapping(mapping(layer.get("known_to_collide")).get("causes"))
    facts = [
        Fact("noise of a state (relative L2, largest of a sample)", number(layer.get("noise")), M),
        Fact("relative minimum", number(layer.get("relative_minimum")), M),
        Fact("co-Lipschitz constant (edit distance)", f"{number(ratios.get('edit'))} ({kind})", M),
        Fact("close pairs that runs of their own do not confirm", str(len(sequence(layer.get("not_confirmed")))), M),
        Fact("close pairs left unexamined", plain(layer.get("unexamined"))),
        *(Fact(f"pairs known to collide: {cause}", plain(pairs)) for cause, pairs in causes.items()),
    ]
    blocks: list[Block] = [Facts(tuple(facts))]
    chart = _chart(layer)
    blocks += [chart] if chart is not None else []
    rows = [_pair(entry) for entry in objects(layer.get("closest_prompts"))[:ROWS]]
    if rows:
        blocks.append(Table("Closest pairs of different states", _PAIR_COLUMNS, tuple(rows)))
    hits = integer(outside.get("below_threshold"))
    badge = Badge(count(hits, "hit"), Tone.FAILS) if hits else Badge("no hit outside known families", Tone.HOLDS)
    return Section(f"Layer {plain(layer.get('layer'))}", tuple(blocks), badge)


def _chart(layer: Mapping[str, Any]) -> Figure | None:
    """The least distance against prompt length; None where there are too few or too many lengths."""
    found = {integer(at.get("length")): real(at.get("minimum_distance")) for at in objects(layer.get("by_length"))}
    lengths = [length for length in found if length is not None and 0 <= length <= LONGEST_CHART]
    if len(lengths) < 2:
        return None
    series = Series("minimum distance", tuple(found.get(length) for length in range(max(lengths) + 1)))
    threshold = real(layer.get("threshold"))
    least = min((value for value in found.values() if value is not None), default=None)
    return Figure(
        title=f"Layer {plain(layer.get('layer'))}: least distance between prompts of one length",
        description=(
            f"Absolute L2 distance for {count(len(lengths), 'length')}, the least being {number(least)}"
            + (f"; the threshold is {number(threshold)}." if threshold else ".")
        ),
        chart=LogPlot(
            "tokens of the prompt", (series,), Level("threshold", threshold, good=False) if threshold else None
        ),
        claim=M,
    )


def _pair(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    texts = [Literal(plain(text)) for text in sequence(entry.get("texts"))]
    first, second = texts if len(texts) == 2 else (Literal(""), Literal(""))
    return number(entry.get("distance")), plain(entry.get("first")), first, plain(entry.get("second")), second


def _hits(caption: str, hits: list[dict[str, Any]]) -> Table:
    columns = (Column("layer", True), Column("cause"), *_PAIR_COLUMNS, Column("in float64", True, M))
    rows = tuple(
        (plain(hit.get("layer")), plain(hit.get("cause")), *_pair(hit), number(hit.get("distance_float64")))
        for hit in hits[:ROWS]
    )
    return Table(caption, columns, rows, folded=len(rows) > 20, omitted=len(hits) - len(rows))


def _search(name: str, found: Mapping[str, Any]) -> Section:
    blocks: list[Block] = [Paragraph(plain(found.get("summary")) + ".", M)]
    if objects(found.get("layers")):
        blocks += [_overview(found), *(_layer(layer) for layer in objects(found.get("layers")))]
        hits = objects(found.get("collisions"))
        blocks += [_hits("Collisions, each run again alone", hits)] if hits else []
    elif objects(found.get("cases")):
        blocks.append(_cases(objects(found.get("cases"))))
    return Section(f"Search: {name}", tuple(blocks))


def _cases(cases: list[dict[str, Any]]) -> Table:
    columns = (
        Column("format"), Column("layer", True), Column("kind"), Column("token"), Column("lengths", True),
        Column("bit-identical", True, M), Column("undecided", True, M), Column("known to collide", True),
        Column("first at", True, M), Column("always from", True, M),
        Column("least distance", True, M), Column("in float64", True, M),
    )  # fmt: skip
    rows = tuple(
        (
            plain(case.get("format")), plain(case.get("layer")), plain(case.get("kind")),
            Literal(plain(case.get("text"))),
            *(number(case.get(key)) for key in ("lengths", "bit_identical", "undecided", "known_to_collide",
                                                "first_bit_identical", "always_from", "minimum_distance",
                                                "minimum_distance_float64")),
        )
        for case in cases[:ROWS]
    )  # fmt: skip
    caption = (
        "Where states become bit-identical although those in float64 differ by more than rounding there explains, "
        "behind a first token that differs; undecided are lengths where float64 does not tell them apart either"
    )
    return Table(caption, columns, rows, omitted=len(cases) - len(rows))
