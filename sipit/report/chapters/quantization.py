"""The chapter of `quantization`: formats against layers, what came back, what breaks first, what counting forces."""

from collections.abc import Mapping
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import (
    Badge,
    Block,
    Cell,
    Chapter,
    Claim,
    Column,
    Findings,
    Literal,
    Paragraph,
    Section,
    Table,
    Theme,
    Tone,
)
from sipit.report.generic import fields
from sipit.report.reading import integer, mapping, objects, real, sequence, string, without
from sipit.report.wording import count, number, plain

M = Claim.MEASURED
_USED = "twice the noise, with the rounding of float32,"  # what the margin has to be larger than (`result._guarantee`)
_SHOWN = {"formats", "layers", "margins", "leaks", "counting", "crossed", "places"}
_OUTCOMES = ("recovered", "ambiguous", "not_found", "undecided", "wrong")
_SUBJECTS = {
    "weights": "Weights rounded, arithmetic in float32",
    "both": "Weights and activations rounded",
    "states": "States rounded when they leave",
}
_THEOREMS = {
    "weights": "The map is what it was, analytic or not (sipit check), but its parameters are one grid point: "
    "the almost-sure theorem is silent.",
    "both": "Every operation is rounded: the map is not analytic, and its image is finite.",
    "states": "The states are finitely many, so collisions must exist among long enough prompts.",
}


def quantization_chapter(record: Record) -> Chapter:
    """The chapter of a `quantization` record."""
    result = record.result
    ran = [one for one in objects(result.get("formats")) if one.get("reason") is None]
    unmeasured = [one for one in objects(result.get("formats")) if one.get("reason") is not None]
    overflown = [one for one in unmeasured if one.get("first_layer_void") is not None]
    left = [one for one in unmeasured if one.get("first_layer_void") is None]
    blocks: list[Block] = []
    for subject, title in _SUBJECTS.items():
        own = [one for one in ran if one.get("subject") == subject]
        if own:
            parts = (Paragraph(_THEOREMS[subject]), _matrix(result, own), _outcomes(own), _values(result, own))
            blocks.append(Section(title, parts))
    blocks += _predictions(ran)
    blocks += _crossed(result)
    blocks += _breaking(ran)
    blocks += _counting(result)
    for caption, some in (("Formats whose states overflow", overflown), ("Formats that were not measured", left)):
        if some:
            rows = tuple((plain(one.get("format")), plain(one.get("reason"))) for one in some)
            blocks.append(Table(caption, (Column("format"), Column("reason")), rows))
    arithmetic = tuple(tuple(plain(one.get(name)) for name in ("format", "arithmetic", "state_type")) for one in ran)
    columns = (Column("format"), Column("arithmetic"), Column("type of states"))
    blocks.append(Table("The arithmetic that really ran", columns, arithmetic, True))
    blocks.append(Section("The rest of the record", fields(without(result, _SHOWN), measured=None), folded=True))
    return chapter(
        record,
        Theme.FORMATS,
        "Number formats",
        _headline(record, ran, overflown, left),
        sentences=_sentences(result, ran),
        blocks=blocks,
        findings=_findings(record, ran, overflown, left),
        found=_found(record),
    )


def _found(record: Record) -> str:
    """What the verdict is about: the formats that make it what it is (`quantization.result.verdict_of`)."""
    formats = objects(record.result.get("formats"))
    left = [one for one in formats if one.get("reason") is not None]
    match record.verdict:
        case Verdict.VOID:
            broke = ("wrong", "collisions")
            return _named([
                one for one in formats
                if one.get("first_layer_void") is not None or any(integer(one.get(name)) for name in broke)
            ])  # fmt: skip
        case Verdict.UNDECIDED:
            every = record.result.get("formats_named") is True or len(left) == len(formats)
            return _named([one for one in left if every or one.get("ran_here") is True])
        case _:
            return count(len(formats) - len(left), "format")


def _predictions(ran: list[dict[str, Any]]) -> list[Block]:
    """How far the predictions of each format lie from those in float32; nothing where no record says so."""
    rows: list[tuple[Cell, ...]] = []
    for one in ran:
        output = mapping(one.get("output"))
        kl = mapping(output.get("kl"))
        if kl:
            values = (kl.get("mean"), kl.get("p50"), kl.get("p99"), kl.get("max"), output.get("same_top1"))
            rows.append((_name(one), *(number(real(value)) for value in values)))
    heads = ("KL, mean (nats)", "p50", "p99", "max", "same likeliest token")
    columns = (Column("format"), *(Column(head, True, M) for head in heads))
    return [Table("How far the predictions move from float32", columns, tuple(rows))] if rows else []


def _findings(
    record: Record, ran: list[dict[str, Any]], overflown: list[dict[str, Any]], left: list[dict[str, Any]]
) -> Findings:
    subject = subject_of(record)
    held = [plain(one.get("format")) for one in ran if one.get("first_layer_void") is None]
    void = [f"{plain(one.get('format'))} (first at layer {plain(one.get('first_layer_void'))})"
            for one in ran if one.get("first_layer_void") is not None]  # fmt: skip
    wrong = sum(integer(one.get("wrong")) or 0 for one in ran)
    broken = (
        *(
            f"{count(pairs, 'pair')} of prompts of {subject} have one state in {name}{where}"
            for name, pairs, where in _collisions(ran)
        ),
        f"{_USED} of {subject} reaches the margin in {', '.join(void)}" if void else "",
        f"{count(wrong, 'prompt')} of {subject} came back wrong from rounded states" if wrong else "",
        f"states of {subject} overflow in {_named(overflown)}" if overflown else "",
    )
    return Findings(
        measured=(f"{_USED} of {subject} stayed below the margin in {', '.join(held)}",) if held else (),
        broken=tuple(filter(None, broken)),
        undecided=(f"{_named(left)} of {subject}, not measured",) if left else (),
    )


def _headline(
    record: Record, ran: list[dict[str, Any]], overflown: list[dict[str, Any]], left: list[dict[str, Any]]
) -> str:
    formats = count(len(ran) + len(overflown), "number format")
    match record.verdict:
        case Verdict.VOID:
            return f"Of {formats}, some {' and some '.join(_void_by(ran, overflown))}."
        case _ if ran:
            rest = f"; not measured: {_named(left)}" if left else ""
            open_ = "It stays open whether the guarantee holds: " if record.verdict is Verdict.UNDECIDED else ""
            said = f"In all of {formats} {_USED} stays below the margin wherever it was seen{rest}."
            return f"{open_}{said[0].lower()}{said[1:]}" if open_ else said
        case _:
            return "No number format was measured."


def _named(formats: list[dict[str, Any]]) -> str:
    return ", ".join(plain(one.get("format")) for one in formats)


def _void_by(ran: list[dict[str, Any]], overflown: list[dict[str, Any]]) -> list[str]:
    """What the verdict void rests on, as clauses."""
    noisy = any(one.get("first_layer_void") is not None for one in ran)
    wrong = any(integer(one.get("wrong")) for one in ran)
    collide = bool(_collisions(ran))
    noisy = noisy or not (wrong or collide or overflown)
    return [
        *([f"reach the margin at some layer by {_USED.removesuffix(',')}"] if noisy else []),
        *(["named a wrong token"] if wrong else []),
        *(["gave different prompts one state"] if collide else []),
        *(["have states that are not finite"] if overflown else []),
    ]


def _collisions(ran: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    """The formats with bit-identical states, known families set apart; how many pairs at the worst layer, and where.

    The sum over the layers, which a record has beside them, counts a pair at each anew.
    """
    found: list[tuple[str, int, str]] = []
    for one in ran:
        total = integer(one.get("collisions")) or 0
        layers = [(integer(at.get("collisions")) or 0, plain(at.get("layer"))) for at in objects(one.get("layers"))]
        pairs, layer = max(layers, key=lambda entry: entry[0], default=(0, ""))
        if total:
            found.append((plain(one.get("format")), pairs or total, f" at layer {layer}" if pairs else ""))
    return found


def _sentences(result: Mapping[str, Any], ran: list[dict[str, Any]]) -> list[Paragraph]:
    held = [plain(one.get("format")) for one in ran if one.get("first_layer_void") is None]
    wrong = sum(integer(one.get("wrong")) or 0 for one in ran)
    degenerate = [plain(one.get("format")) for one in ran if one.get("degenerate") is True]
    places = count(len(objects(result.get("places"))), "position")
    whole = (
        "the whole vocabulary" if result.get("whole_vocabulary") is True else f"{plain(result.get('scanned'))} tokens"
    )
    found = told(
        M,
        f"The guarantee held at every layer, at {places}, in: {', '.join(held) or 'none'}.",
        f"Margins are over {whole} in float32; noise is the distance from the same model in float64, and the rounding "
        "of float32 that of the true state among those of the scan.",
        f"Prompts that came back with a wrong token: {wrong or 'none'}.",
        "Pairs of prompts with bit-identical states, at the worst layer of a format: "
        f"{max((pairs for _, pairs, _ in _collisions(ran)), default=0) or 'none'}.",
        f"The matrices of the blocks already lie on the grid of {', '.join(degenerate)} and were not tested by it; "
        "what is seen there comes from the embedding rows, or from operations that are rounded too."
        if degenerate
        else "",
    )
    return [
        *found,
        Paragraph("Ambiguous is no failure: a token fits the rounded state, and those not clearly farther are named."),
    ]


def _matrix(result: Mapping[str, Any], formats: list[dict[str, Any]]) -> Table:
    """Formats against layers: what rounding uses of the margin, in percent, where it is worst."""
    layers = _layers(result)
    columns = (Column("format"), *(Column(f"layer {layer}", True, M) for layer in layers),
               Column("first layer void", True, M))  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in formats:
        at = _by_layer(one)
        void = one.get("first_layer_void")
        rows.append((_name(one), *(_cell(at.get(layer)) for layer in layers), "none" if void is None else plain(void)))
    caption = (
        f"{_USED.capitalize()} in percent of the margin, at the worst position: below 100 % the guarantee holds (✓)"
    )
    return Table(caption, columns, tuple(rows))


def _cell(found: Mapping[str, Any] | None) -> Cell:
    if found is None or found.get("guarantee") not in {"held", "void"}:
        return Badge("not looked at", Tone.OPEN)
    held = found.get("guarantee") == "held"
    share = plain(found.get("guarantee"))  # where there is no margin, or a record of an earlier version does not say
    used = real(found.get("share"))
    if used is not None:
        percent = number(100 * used)
        share = f"{percent} %"
        if percent == "100":  # which rounding has made of it
            share = "below 100 %" if held else "at least 100 %"
    return Badge(share, Tone.HOLDS if held else Tone.FAILS)


def _values(result: Mapping[str, Any], formats: list[dict[str, Any]]) -> Table:
    columns = (Column("format"), Column("layer", True), Column("noise", True, M), Column("margin", True, M))
    rows: list[tuple[Cell, ...]] = []
    for one in formats:
        at = _by_layer(one)
        rows += [(_name(one), plain(layer), number(mapping(at.get(layer)).get("noise")),
                  number(mapping(at.get(layer)).get("margin"))) for layer in _layers(result)]  # fmt: skip
    return Table("The values: noise and margin, relative to the norm of the state", columns, tuple(rows), folded=True)


def _layers(result: Mapping[str, Any]) -> list[int]:
    return [layer for layer in map(integer, sequence(result.get("layers"))) if layer is not None]


def _by_layer(one: Mapping[str, Any]) -> dict[int | None, dict[str, Any]]:
    return {integer(layer.get("layer")): layer for layer in objects(one.get("layers"))}


def _outcomes(formats: list[dict[str, Any]]) -> Table:
    columns = (
        Column("format"), Column("prompts", True), *(Column(name.replace("_", " "), True, M) for name in _OUTCOMES),
        Column("collisions", True, M), Column("within noise", True, M),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in formats:
        layers = objects(one.get("layers"))
        near = sum(integer(layer.get("below_noise")) or 0 for layer in layers)
        least = "≥ " if any(layer.get("below_noise_at_least") is True for layer in layers) else ""
        counts = (number(one.get(name)) for name in ("prompts", *_OUTCOMES, "collisions"))
        rows.append((_name(one), *counts, f"{least}{near}"))
    caption = "Prompts that came back (by the model that has the states, over all layers), and pairs of states"
    return Table(caption, columns, tuple(rows))


def _name(one: Mapping[str, Any]) -> str:
    return plain(one.get("format")) + (" (degenerate)" if one.get("degenerate") is True else "")


def _crossed(result: Mapping[str, Any]) -> list[Block]:
    found = objects(result.get("crossed"))
    if not found:
        return []
    columns = (Column("states from"), Column("inverted with"), Column("tolerance", True, M),
               *(Column(name.replace("_", " "), True, M) for name in _OUTCOMES))  # fmt: skip
    rows = tuple(
        (plain(row.get("source")), plain(row.get("target")), number(row.get("tolerance")),
         *(number(row.get(name)) for name in _OUTCOMES))
        for row in found
    )  # fmt: skip
    caption = f"States of one format inverted with another, at layer {plain(found[0].get('layer'))}"
    return [Table(caption, columns, rows, folded=len(rows) > 8)]


def _breaking(ran: list[dict[str, Any]]) -> list[Block]:
    columns = (Column("format"), Column("layer", True), Column("noise", True, M), Column("margin", True, M),
               Column("position", True), Column("token", True), Column("rival", True),
               Column("closest prompts"))  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for one in ran:
        for layer in objects(one.get("layers")):
            if layer.get("layer") != one.get("first_layer_void"):
                continue
            breaking = mapping(layer.get("counterexample"))
            closest = " / ".join(string(text) or "" for text in sequence(layer.get("closest")))
            cells = (plain(breaking.get(key)) for key in ("position", "token", "rival"))
            rows.append((_name(one), plain(layer.get("layer")), number(breaking.get("noise")),
                         number(breaking.get("margin")), *cells, Literal(closest)))  # fmt: skip
    caption = f"What voids the guarantee first: a true token, and the rival within {_USED.removesuffix(',')}"
    return [Table(caption, columns, tuple(rows))] if rows else []


def _counting(result: Mapping[str, Any]) -> list[Block]:
    rows = tuple(
        (plain(row.get("format")), number(row.get("bits")), number(row.get("length")),
         "yes" if row.get("in_context") is True else "no")
        for row in objects(result.get("counting"))
    )  # fmt: skip
    columns = (Column("format"), Column("bits", True), Column("tokens", True, Claim.PROVED), Column("within context"))
    caption = "Counting: two different prompts of at most so many tokens must share a stored state"
    return [Table(caption, columns, rows)] if rows else []
