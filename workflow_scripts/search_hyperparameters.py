"""Rule search_hyperparameters: the best parameters that the workers of a search have found."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.stage import stage
from vqaflow.search.search_hyperparameters import search_hyperparameters

with stage(snakemake.log[0], snakemake.output):
    search_hyperparameters(
        workers=[Path(path) for path in snakemake.input.workers],
        work=ResultsFolder(Path(snakemake.params.results)).search_work(snakemake.wildcards.member),
        trials=snakemake.params.trials,
        best_out=Path(snakemake.output.best),
        study_out=Path(snakemake.output.study),
        figures_out=Path(snakemake.output.figures),
    )
