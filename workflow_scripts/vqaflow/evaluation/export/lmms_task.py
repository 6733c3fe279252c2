"""The training rows as tasks of lmms-eval, so that another program can measure a model on exactly these questions."""

from pathlib import Path
from typing import Any

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import Member
from vqaflow.config.sections import AnswersConfig
from vqaflow.evaluation.export.chats import SOFT
from vqaflow.evaluation.export.guides import lmms_eval_guide
from vqaflow.evaluation.export.places import export_folder, name_from, write_lines
from vqaflow.evaluation.export.rows import ExportedRow, read_rows
from vqaflow.runtime.files import write_text
from vqaflow.runtime.stage import log

FUNCTIONS = Path(__file__).with_name("lmms_functions.py")
TASK = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    {split}: {file}
test_split: {split}
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: !function utils.doc_to_target
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: 16
  temperature: 0
  do_sample: false
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
  - metric: unanswered
    aggregation: mean
    higher_is_better: false
metadata:
  - version: 1.0
"""


def export_lmms_eval(
    results: ResultsFolder, member: Member, out: Path, force: bool, answers: AnswersConfig = SOFT
) -> None:
    """Write one task of all training rows and one per fold, with their rows and functions, to the folder `out`.

    A model that was trained without a fold may be measured on this fold's task only, an untuned one on all. Rows that
    `answers` leaves out of training are measured too, as in a run.
    """
    rows = read_rows(results, member, answers, out)
    name = name_from(out)
    parts = {"train": rows.train}
    parts |= {f"fold{fold}": [row for row in rows.train if row.fold == fold] for fold in rows.folds}
    with export_folder(out, "lmms-eval", force) as folder:
        rows.write_tiles(folder)
        write_text(folder / "utils.py", FUNCTIONS.read_text(encoding="utf-8"))
        for part, part_rows in parts.items():
            write_lines(folder / f"{part}.jsonl", map(document, part_rows))
            # An absolute path: older versions look for a relative one in the working directory.
            text = TASK.format(task=f"{name}_{part}", split=part, file=quoted(out.resolve() / f"{part}.jsonl"))
            write_text(folder / f"{name}_{part}.yaml", text)
        write_text(folder / "README.md", lmms_eval_guide(name, member.model["base"], rows.system, rows.folds))
    for part, part_rows in parts.items():
        log.info("%s: %d rows", out / f"{name}_{part}.yaml", len(part_rows))


def quoted(path: Path) -> str:
    """A path as a YAML text in single quotation marks."""
    return "'" + str(path).replace("'", "''") + "'"


def document(exported: ExportedRow) -> dict[str, Any]:
    """A row as lmms_functions.py reads it."""
    row: dict[str, Any] = {"id": exported.row.id, "prompt": exported.prompt}
    row |= {"images": list(exported.images)}
    row |= {"choices": exported.choices, "letters": list(exported.letters)}
    return {**row, "answer": exported.answer, "qtype": exported.row.qtype} | exported.people
