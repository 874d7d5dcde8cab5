"""The last chapter: every certificate among the records, and the command that checks it again."""

from collections.abc import Mapping, Sequence

from proofs.evidence import Record
from proofs.regularity import UNPROVED
from sipit.report.chapter import told
from sipit.report.document import Badge, Block, Chapter, Claim, Command, Fact, Facts, Findings, Section, Theme, Tone
from sipit.report.provenance import model_name, recheck
from sipit.report.reading import mapping, sequence, string
from sipit.report.wording import count, plain

UNKNOWN = "RECORD.json"  # where the name of the file is not known


def certificates_chapters(records: Sequence[Record], files: Sequence[str] = ()) -> list[Chapter]:
    """The chapter of all certificates; none where no record has one."""
    named = [*files, *[UNKNOWN] * len(records)]
    held = [(record, file) for record, file in zip(records, named, strict=False) if _certificate(record)]
    if not held:
        return []
    return [
        Chapter(
            theme=Theme.CERTIFICATES,
            title="Certificates, and how to check them again",
            badge=Badge(count(len(held), "certificate"), Tone.NEUTRAL),
            headline="What is proved on this page can be checked again, without trusting the program that proved it.",
            sentences=tuple(
                told(
                    None,
                    "Each command evaluates one certificate again with a small kernel, which uses exact arithmetic and "
                    "no neural network library, whatever the record says of itself. It answers with what it derived, "
                    "and accepts or rejects the record.",
                )
            ),
            blocks=tuple(_entry(record, file) for record, file in held),
            findings=Findings(),
        )
    ]


def _certificate(record: Record) -> dict[str, object]:
    return mapping(record.result.get("certificate"))


def proves(kind: object, claim: Mapping[str, object], *, refutes: bool) -> bool:
    """Whether what a certificate shows is a proof: not that no class, or nothing of a training step, is proved.

    One of no class may still refute, by a witness on its own graph or by prompts that collide.
    """
    if kind == "training-step":
        return claim.get("non_zero") is True
    return kind != "regularity" or claim.get("regularity") != str(UNPROVED) or refutes


def _entry(record: Record, file: str) -> Section:
    certificate = _certificate(record)
    statement = string(mapping(certificate.get("claim")).get("statement")) or plain(record.result.get("statement"))
    witness = mapping(certificate.get("witness"))
    refutes = bool(witness and "graph" not in witness) or bool(sequence(certificate.get("structural_collisions")))
    proved = proves(certificate.get("kind"), mapping(certificate.get("claim")), refutes=refutes)
    subject = model_name(record)
    blocks: list[Block] = [
        *told(Claim.PROVED if proved else None, statement if statement.strip("–") else ""),
        Command("The command that checks it again", recheck(record, file)),
        Facts((Fact("kind", plain(certificate.get("kind"))), Fact("record", file))),
    ]
    return Section(f"{record.command}{f': {subject}' if subject else ''}", tuple(blocks))
