"""Rule train_adapter: one fold's LoRA adapter."""

from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    lease_gpu()
    # These import torch, which must see the leased GPU only.
    from vqaflow.runtime.artifact_store import Store
    from vqaflow.training.rows import FoldRows
    from vqaflow.training.settings import TrainingPlaces, TrainingSettings
    from vqaflow.training.train_adapter import train_adapter

    given, params = snakemake.input, snakemake.params
    fold = int(snakemake.wildcards.fold)
    best = Path(given.best) if given.get("best") else None
    train_adapter(
        rows=FoldRows(Path(given.table), Path(given.folds), fold),
        settings=TrainingSettings.of(params.model, params.prompt, params.train, best),
        out=Path(snakemake.output.adapter),
        places=TrainingPlaces(RESULTS.training_work(fold), RESULTS.bases, RESULTS.vision, RESULTS.tracking(fold)),
        store=Store(Path(snakemake.resources.store), snakemake.resources.store_gb),
    )
