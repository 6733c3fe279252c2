"""Training rows as conversations, for LLaMA-Factory and for ms-swift: JSON Lines per fold, and how to train on them.

Both read the format of OpenAI's messages: a list of turns with `role` and `content`, where ``<image>`` in the user's
text stands for the picture, and a list `images` of paths (data/README.md of LLaMA-Factory; Custom-dataset.md of
ms-swift).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import Member
from vqaflow.config.sections import AnswersConfig, ModelConfig, TrainConfig, section
from vqaflow.evaluation.export.guides import llama_factory_guide, ms_swift_guide
from vqaflow.evaluation.export.places import export_folder, name_from, write_lines
from vqaflow.evaluation.export.rows import ExportedRow, ExportedRows, read_rows
from vqaflow.model.families.known import family_of_base
from vqaflow.runtime.files import write_json, write_text
from vqaflow.runtime.stage import log

PICTURE = "<image>"
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
TAGS |= {"system_tag": "system"}
SOFT = AnswersConfig()
UNKNOWN_TEMPLATE = "TEMPLATE"  # the guide says to replace it


def export_llama_factory(
    results: ResultsFolder, member: Member, out: Path, force: bool, answers: AnswersConfig = SOFT
) -> None:
    """Write data sets, dataset_info.json, a training file per fold and a README for LLaMA-Factory to the folder `out`.

    Its loader drops a conversation without an answer, so that test rows have an empty one.
    """
    model, train, rows = _settings(results, member, answers, out)
    name = name_from(out)
    with export_folder(out, "llama-factory", force) as folder:
        sets = list(data_sets(rows))
        rows.write_tiles(folder)
        for part, part_rows in sets:
            write_lines(folder / f"{part}.jsonl", (conversation(row, rows.system, "") for row in part_rows))
        described = {
            f"{name}_{part}": {
                "file_name": f"{part}.jsonl",
                "formatting": "sharegpt",
                "columns": {"messages": "messages", "images": "images"},
                "tags": TAGS,
            }
            for part, _ in sets
        }
        write_json(folder / "dataset_info.json", described)
        for fold in rows.folds:
            write_text(folder / f"train_fold{fold}.yaml", training_file(name, fold, model, train))
        write_text(folder / "README.md", llama_factory_guide(name, model.base, UNKNOWN_TEMPLATE, rows.folds))
    _report(out, sets)


def export_ms_swift(
    results: ResultsFolder, member: Member, out: Path, force: bool, answers: AnswersConfig = SOFT
) -> None:
    """Write data sets and a README for ms-swift to the folder `out`; its test rows end with the question."""
    model, train, rows = _settings(results, member, answers, out)
    with export_folder(out, "ms-swift", force) as folder:
        sets = list(data_sets(rows))
        rows.write_tiles(folder)
        for part, part_rows in sets:
            write_lines(folder / f"{part}.jsonl", (conversation(row, rows.system, None) for row in part_rows))
        write_text(folder / "README.md", ms_swift_guide(model, train, rows.folds))
    _report(out, sets)


EXPORTS: Mapping[str, Callable[..., None]] = {
    "llama-factory": export_llama_factory,
    "ms-swift": export_ms_swift,
}


def _settings(
    results: ResultsFolder, member: Member, answers: AnswersConfig, out: Path
) -> tuple[ModelConfig, TrainConfig, ExportedRows]:
    """The sections `model`, with the limits of the view that training renders, and `train`; and the rows."""
    rows = read_rows(results, member, answers, out)
    model = section(ModelConfig, member.model)
    smallest, largest = rows.view.limits(model.limits)
    return replace(model, min_pixels=smallest, max_pixels=largest), section(TrainConfig, member.train), rows


def data_sets(rows: ExportedRows) -> Iterator[tuple[str, Sequence[ExportedRow]]]:
    """Name and rows of each file: for each fold what is trained on and what is held out, all training rows, test."""
    for fold in rows.folds:
        yield f"fold{fold}_train", [row for row in rows.train if row.fold != fold and row.trains]
        yield f"fold{fold}_val", [row for row in rows.train if row.fold == fold]
    yield "train", [row for row in rows.train if row.trains]
    yield "test", rows.test


def conversation(exported: ExportedRow, system: str, unanswered: str | None) -> dict[str, Any]:
    """One row as messages; without a known answer, the last turn is `unanswered`, or there is none."""
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": PICTURE * len(exported.images) + exported.prompt})
    answer = unanswered if exported.answer is None else exported.answer
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return {"id": exported.row.id, "messages": turns, "images": list(exported.images)} | exported.people


def training_file(name: str, fold: int, model: ModelConfig, train: TrainConfig) -> str:
    """LLaMA-Factory's settings to train without `fold`, with the run's own numbers where it has such a key."""
    settings = {
        "model_name_or_path": model.base,
        "image_min_pixels": model.min_pixels,
        "image_max_pixels": model.max_pixels,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": train.lora.r,
        "lora_alpha": train.lora.alpha,
        "lora_dropout": train.lora.dropout,
        "lora_target": ",".join(train.lora.targets),
        "dataset_dir": ".",
        "dataset": f"{name}_fold{fold}_train",
        "eval_dataset": f"{name}_fold{fold}_val",
        "template": template_of(model),
        "cutoff_len": 4096,
        "output_dir": f"saves/fold{fold}",
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": train.batch_size * train.accumulation,
        "learning_rate": train.learning_rate,
        "num_train_epochs": float(train.epochs),
        "lr_scheduler_type": "cosine",
        "warmup_ratio": train.warmup_ratio,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "bf16": True,
        "seed": train.seed,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_steps": 10,
        "report_to": "none",
    }
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def template_of(model: ModelConfig) -> str:
    """The name of a base's chat template in LLaMA-Factory, as far as its family is known."""
    family = family_of_base(model.base, model.revision)
    return family.llama_factory or UNKNOWN_TEMPLATE if family else UNKNOWN_TEMPLATE


def _report(out: Path, sets: Sequence[tuple[str, Sequence[ExportedRow]]]) -> None:
    for part, rows in sets:
        log.info("%s: %d rows", out / f"{part}.jsonl", len(rows))
    log.info("%s: says how to train on them", out / "README.md")
