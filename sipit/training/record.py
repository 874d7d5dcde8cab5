"""`train`, whole: a model is trained, its states are followed along the way, and it is written to a folder."""

from pathlib import Path
from tempfile import TemporaryDirectory

from proofs.errors import InvalidInput
from proofs.evidence import Record
from sipit.cache import alone_in, full_disk
from sipit.claims.hypotheses import quoted_theorem
from sipit.models import LanguageModel
from sipit.models.tokenizers import save_tokenizer
from sipit.record import Stages, Stopwatch, provenance, silent
from sipit.training.checkpoint import CHECKPOINT
from sipit.training.trainer import DECAY, Settings, train

_UNSEEN = "whether another run works in {folder} cannot be told there; where one did, the files may be of either"


def training_record(
    model: LanguageModel,
    settings: Settings,
    folder: Path,
    *,
    stages: Stages = silent,
    watch: Stopwatch | None = None,
) -> Record:
    """Trains a model and follows how far apart the states of fixed prompts are: the record of `sipit train`.

    Args:
        model: a copy of it is trained.
        settings: what decides the run; an interrupted one continues where they are the same.
        folder: for the checkpoint and the trained model; made where it is missing.
        stages: called as the work goes on, with how far it is.
        watch: where time is counted from.

    Raises:
        InvalidInput: the folder cannot be written, or holds the checkpoint of another run.
    """
    watch = Stopwatch() if watch is None else watch
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"Expected a folder to write, but {folder} is none: {error.strerror}; name another."
        ) from None
    with alone_in(folder) as alone:
        _expect_own(folder, alone)
        with stages("training") as progress:
            found = train(model, settings, folder, progress)
        files = [folder / CHECKPOINT, write_model(found.model, folder / "model")]
    about = provenance(model, seed=settings.seed) | {"digest_of_trained": found.model.digest}
    if alone is None:  # refused, nothing could be trained on such a disk
        about["warnings"] = [*about.get("warnings", []), _UNSEEN.format(folder=folder)]
    return Record(
        command="train",
        verdict=found.verdict,
        result={
            "files": [str(path) for path in files],
            **found.to_json(),
            "theorem": quoted_theorem(model, settings.optimizer, decay=settings.rate * DECAY),
        },
        provenance=about,
        seconds=watch.seconds,
    )


def _expect_own(folder: Path, alone: bool | None) -> None:
    """Raises InvalidInput where another run is in a folder, or a `model` that no run of ours has put there."""
    if alone is False:
        raise InvalidInput(
            f"Expected a folder that no other run works in, but one is in {folder}; wait for it, or name another."
        )
    if (folder / "model").exists() and not (folder / CHECKPOINT).exists():
        raise InvalidInput(
            f"Expected a folder for a trained model, but {folder / 'model'} is there and no checkpoint of a run; "
            "name another with --folder."
        )


def write_model(model: LanguageModel, folder: Path) -> Path:
    """Writes the trained model as a folder that every command takes as MODEL, whole or not at all.

    Raises:
        InvalidInput: there is no room for it.
    """
    try:
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary) / folder.name
            model.module.save_pretrained(whole)
            save_tokenizer(model.tokenizer, whole)
            before = Path(temporary) / "before"  # goes with the temporary folder, once the new one has its name
            try:
                if folder.exists():
                    folder.rename(before)
                whole.rename(folder)
            finally:
                if before.exists() and not folder.exists():  # it failed, or was interrupted
                    before.rename(folder)
    except full_disk() as error:
        raise InvalidInput(
            f"Expected room for the trained model, but {folder} cannot be written: {error}; make room."
        ) from None
    return folder
