"""The chapter of `fuzz`: prompts that did not come back, as short as they go."""

from proofs.evidence import Record
from sipit.report.chapter import chapter, subject_of, told
from sipit.report.document import Badge, Block, Chapter, Claim, Command, Fact, Facts, Findings, Theme, Tone
from sipit.report.generic import ROWS, fields
from sipit.report.reading import integer, objects, without
from sipit.report.wording import count, plain

M = Claim.MEASURED


def fuzz_chapter(record: Record) -> Chapter:
    """The chapter of a `fuzz` record: how many prompts were tried, and the shortest that do not come back."""
    result, subject = record.result, subject_of(record)
    tried = count(integer(result.get("examples")) or 0, "prompt")
    failures = objects(result.get("failures"))
    at = f"layer {plain(result.get('layer'))}" if result.get("layer") != "all" else "every layer"
    blocks: list[Block] = []
    for failure in failures[:ROWS]:
        blocks += [
            Facts(
                (
                    Fact("how it fails", Badge(plain(failure.get("class")).replace("_", " "), Tone.FAILS)),
                    Fact("shortest prompt found, as token ids", plain(failure.get("token_ids")), M),
                    Fact("layer", plain(failure.get("layer"))),
                    Fact("what happens", plain(failure.get("detail"))),
                )
            ),
            Command("The command that repeats it", plain(failure.get("command"))),
        ]
    rest = fields(without(result, {"failures", "examples", "layer"}))
    held = f"All of {tried} that were inverted came back from the states at {at} of {subject}"
    kinds = count(len(failures), "way", "ways")
    failed = f"fail in {kinds} to come back from the states of {subject}"
    return chapter(
        record,
        Theme.INVERSION,
        "Looking for a prompt that does not come back",
        f"Of {tried} that were inverted, some {failed}." if failures else f"{held}.",
        sentences=told(
            M, "Prompts are drawn by Hypothesis and inverted; one that fails is made as short as it will go."
        ),
        blocks=[*blocks, *rest],
        findings=Findings(broken=(f"prompts {failed} (fuzzing)",))
        if failures
        else Findings(measured=(f"{tried} of fuzzing came back from the states at {at} of {subject}",)),
    )
