"""Rule score_choices: one view of one fold's OOF rows or of the test rows."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpus(snakemake.params.devices, key="model.devices")  # Snakemake lowers resources to its limits
    from vqaflow.runtime.artifact_store import Store
    from vqaflow.scoring.others import chosen
    from vqaflow.scoring.score_choices import Other, ScoringPlaces, score_choices
    from vqaflow.scoring.selection import RowsToScore, Task

    given, at, params = snakemake.input, snakemake.wildcards, snakemake.params
    results = ResultsFolder(Path(params.results))
    work = results.scoring_work(at.member, at.split, at.fold, at.view)
    weights = Path(given.weights) if given.get("weights") else None

    def rows_in(files):
        """Which rows, by the names of the files that say it."""
        folds, margins, trained = (
            Path(files[name]) if files.get(name) else None for name in ("folds", "margins", "trained_folds")
        )
        return RowsToScore(Path(files["table"]), folds, at.fold, margins, trained)

    others = [
        Other(
            Task.of(one["at"]["view"], params.model, one["prompt"], one["view"], params.orders, params.main),
            rows_in(one["files"]),
            results.scoring_work(*(one["at"][name] for name in ("member", "split", "fold", "view"))),
        )
        for one in chosen(params.others, dict(at.items()), results.to_score)
    ]
    score_choices(
        task=Task.of(at.view, params.model, params.prompt, params.view, params.orders, params.main),
        rows=rows_in(given),
        adapter=weights.parent if weights else None,
        out=Path(snakemake.output.scores),
        cost=Path(snakemake.output.cost),
        places=ScoringPlaces(work, results.bases, results.vision, params.vision_gb),
        store=Store(Path(params.store), params.store_gb),
        batch_tokens=params.batch_tokens,
        devices=params.devices,
        others=others,
    )
