"""Rule train_adapter: one LoRA adapter, trained on the other folds' rows or on all rows."""

from pathlib import Path

from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.sections import AnswersConfig, section
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.process_start import importing
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpus(snakemake.params.train["devices"])
    # These import torch, which must see the leased GPUs only.
    with importing():
        from vqaflow.runtime.artifact_store import Store
        from vqaflow.training.rows import FoldRows
        from vqaflow.training.settings import TrainingPlaces, TrainingSettings
        from vqaflow.training.train_adapter import train_adapter

    given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
    best, histories = Path(given.best) if given.get("best") else None, [Path(path) for path in given.histories]
    results, store = ResultsFolder(Path(params.results)), Store(Path(params.store), params.store_gb)
    work, tracking = results.training_work(at.member, at.fold), results.tracking(at.member, at.fold)
    teacher, answers = Path(given.teacher) if given.get("teacher") else None, section(AnswersConfig, params.answers)
    train_adapter(
        rows=FoldRows(Path(given.table), Path(given.folds), fold_of(at.fold), answers, teacher),
        settings=TrainingSettings.of(params.model, params.prompt, params.train, best, histories, params.view),
        out=Path(snakemake.output.adapter),
        places=TrainingPlaces(work, results.bases, results.vision, tracking),
        store=store,
    )
