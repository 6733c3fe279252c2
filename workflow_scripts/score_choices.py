"""Rule score_choices: one view of one fold's OOF rows or of the test rows."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpus(snakemake.resources.gpu, key="model.devices")
    from vqaflow.runtime.artifact_store import Store
    from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
    from vqaflow.scoring.selection import RowsToScore, Task

    given, at, params = snakemake.input, snakemake.wildcards, snakemake.params
    results = ResultsFolder(Path(params.results))
    work = results.scoring_work(at.member, at.split, at.fold, at.view)
    names = ("folds", "margins", "trained_folds", "weights")
    folds, margins, trained_folds, weights = (Path(given[name]) if given.get(name) else None for name in names)
    score_choices(
        task=Task.of(at.view, params.model, params.prompt, params.view, params.orders, params.main),
        rows=RowsToScore(Path(given.table), folds, at.fold, margins, trained_folds),
        adapter=weights.parent if weights else None,
        out=Path(snakemake.output.scores),
        cost=Path(snakemake.output.cost),
        places=ScoringPlaces(work, results.bases, results.vision, params.vision_gb),
        store=Store(Path(params.store), params.store_gb),
        batch_tokens=params.batch_tokens,
        devices=snakemake.resources.gpu,
    )
