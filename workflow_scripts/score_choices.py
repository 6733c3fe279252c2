"""Rule score_choices: one view of one fold's OOF rows or of the test rows."""

from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpus(snakemake.resources.gpu, key="model.devices")
    from vqaflow.runtime.artifact_store import Store
    from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
    from vqaflow.scoring.selection import RowsToScore, Task

    given, at, params, hardware = snakemake.input, snakemake.wildcards, snakemake.params, snakemake.resources
    work = RESULTS.scoring_work(at.member, at.split, at.fold, at.view)
    names = ("folds", "margins", "trained_folds", "weights")
    folds, margins, trained_folds, weights = (Path(given[name]) if given.get(name) else None for name in names)
    score_choices(
        task=Task.of(at.view, params.model, params.prompt, params.view, params.orders, params.main),
        rows=RowsToScore(Path(given.table), folds, at.fold, margins, trained_folds),
        adapter=weights.parent if weights else None,
        out=Path(snakemake.output.scores),
        cost=Path(snakemake.output.cost),
        places=ScoringPlaces(work, RESULTS.bases, RESULTS.vision, hardware.vision_gb),
        store=Store(Path(hardware.store), hardware.store_gb),
        batch_tokens=hardware.batch_tokens,
        devices=hardware.gpu,
    )
