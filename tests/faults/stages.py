"""Every stage of the small workflow and every command that reads its results, run in a forked process.

The libraries are imported once. A stage runs as its rule's script does: within `stage`, with a log in results/logs, and
what it wrote is recorded.
"""

import base64
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import vqaflow.commands.command_line as command_line

# The command of each rule's jobs, as `vqaflow` takes it; prepare_demo and validate_tables read the user's files.
STAGES = {
    "prepare_demo": ["prepare_demo"],
    "validate_tables": ["validate_tables"],
    "make_folds": ["make_folds"],
    "explore_data": ["explore_data"],
    "train_adapter": ["train_adapter", "--fold", "0"],
    "score_choices, OOF": ["score_choices", "--split", "oof", "--fold", "0"],
    "score_choices, test": ["score_choices", "--split", "test", "--fold", "1"],
    "pool_member": ["pool_member"],
    "ensemble_probabilities": ["ensemble_probabilities"],
    "evaluate_oof": ["evaluate_oof"],
    "write_submission": ["write_submission"],
    "validate_submission": [
        *("validate_submission", "results/submission.csv", "--sample", "results/demo/sample_submission.csv"),
        *("--test", "results/tables/test.parquet", "--metrics", "results/evaluation/metrics.json"),
        *("--labels", "results/tables/labels.json", "--out", "results/submission.validated.json"),
    ],
    "show_answers": ["show_answers"],
}
NOT_BY_HAND = "tables/images.json"  # only the rule writes it, not the command
# What a user asks of finished results.
TOOLS = {
    "verify": ["verify", "results"],
    "compare": ["compare", "results", "other"],
    "runs": ["runs", "results", "other"],
    "runs keep": ["runs", "keep", "first", "--force"],
    "picks": ["picks"],
    "plan": ["plan"],
    "export probabilities": ["export", "probabilities", "--out", "exported_probabilities", "--force"],
    "export ms-swift": ["export", "ms-swift", "--out", "exported", "--force"],
    "export lmms-eval": ["export", "lmms-eval", "--out", "exported_task", "--force"],
}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, and what it printed on both streams."""

    status: int
    printed: str


def forked(folder: Path, work: Callable[[], object]) -> Ended:
    """Do `work` in a fork of this process, in `folder`."""
    with tempfile.TemporaryFile() as out:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.chdir(folder)
                for stream in (1, 2):
                    os.dup2(out.fileno(), stream)
                sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
                work()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else bool(end.code)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(int(status or 0))
        _, result = os.waitpid(child, 0)
        out.seek(0)
        return Ended(os.waitstatus_to_exitcode(result), out.read().decode("utf-8", "replace"))


def run_stage(folder: Path, name: str, outputs: list[str]) -> Ended:
    """Run a stage as its rule does, with the log and the `outputs` of one of its jobs."""
    from vqaflow.runtime import stage as stages

    command = STAGES[name]

    def work() -> None:
        log = Path("results/logs") / f"{name.replace(', ', '/')}.log"
        original = stages.stage
        command_line.stage = lambda _, **options: original(log, outputs, **options)
        command_line.main(command)

    return forked(folder, work)


def run_tool(folder: Path, name: str) -> Ended:
    """Run a command on the results in `folder`."""
    return forked(folder, lambda: command_line.main(TOOLS[name]))


def warm_up() -> None:
    """Import what the stages import."""
    import polars  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import vqaflow.ensemble.ensemble_probabilities
    import vqaflow.evaluation.compare
    import vqaflow.evaluation.evaluate_oof
    import vqaflow.evaluation.show_answers
    import vqaflow.evaluation.verify.verify
    import vqaflow.scoring.score_choices
    import vqaflow.training.train_adapter  # noqa: F401

    torch.set_num_threads(1)


def jobs_of(folder: Path) -> Mapping[str, dict]:
    """By output: what Snakemake knows of the job that made it (rule, input)."""
    found = {}
    for path in (folder / ".snakemake" / "metadata").iterdir():
        found[base64.urlsafe_b64decode(path.name).decode()] = json.loads(path.read_text(encoding="utf-8"))
    return found


def outputs_of(folder: Path, name: str) -> list[str]:
    """The outputs of a stage's job, as Snakemake has noted them."""
    rule = name.partition(",")[0]
    marks = {
        "train_adapter": ["fold0"],
        "score_choices, OOF": ["/oof/fold0/"],
        "score_choices, test": ["/test/fold1/"],
    }.get(name, [""])
    made = [out for out, job in jobs_of(folder).items() if job["rule"] == rule and all(mark in out for mark in marks)]
    return [out for out in made if not out.endswith(NOT_BY_HAND)]


def restore(folder: Path, finished: Path) -> None:
    """The results as they were when the run had finished, with the times of its files."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    shutil.copytree(finished / "results", folder / "results")
