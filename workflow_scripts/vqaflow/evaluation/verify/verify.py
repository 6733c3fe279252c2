"""Is a results folder whole, and do its artifacts agree with each other?

`vqaflow verify results/` reads every artifact and prints one line per check. It needs no base model and changes
nothing; images are checked if they are here. If a check fails, it says what is wrong, where, and what to do, and exits
with 1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.verify.byte_checks import check_bases, check_bytes, check_images
from vqaflow.evaluation.verify.card_checks import check_cards
from vqaflow.evaluation.verify.data_checks import check_exploration, check_folds, check_tables
from vqaflow.evaluation.verify.decision_checks import check_ensemble, check_evaluation, check_submission
from vqaflow.evaluation.verify.member_checks import check_members, check_scores
from vqaflow.evaluation.verify.model_checks import check_adapters, check_search
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError

# Each check, with the checks that it depends on: if one of those fails, it is skipped.
CHECKS: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "tables": (check_tables, ()),
    "images": (check_images, ("tables",)),
    "exploration": (check_exploration, ()),
    "folds": (check_folds, ("tables",)),
    "search": (check_search, ()),
    "bases": (check_bases, ()),
    "adapters": (check_adapters, ("folds",)),
    "scores": (check_scores, ("tables", "folds", "adapters")),
    "members": (check_members, ("tables", "folds", "scores")),
    "ensemble": (check_ensemble, ("tables", "folds", "members")),
    "evaluation": (check_evaluation, ("tables", "ensemble")),
    "submission": (check_submission, ("tables", "ensemble", "evaluation")),
    "cards": (check_cards, ("adapters", "scores", "evaluation")),
    "bytes": (check_bytes, ()),
}


def verify(folder: Path, sample: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """Run all checks; for each, yield its name, ``ok``, ``FAILED`` or ``skipped``, and what was found.

    `sample` is the sample submission; without it, the submission's order and columns are not compared with it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder. Give the results folder of a run.")
    results, failed = Results(ResultsFolder(folder)), set()
    for name, (check, needs) in CHECKS.items():
        if missing := [need for need in needs if need in failed]:
            failed.add(name)
            yield name, "skipped", f"because {missing[0]} failed"
            continue
        try:
            yield name, "ok", check(results, sample) if name == "submission" else check(results)
        except UserError as error:
            failed.add(name)
            yield name, "FAILED", str(error)
