"""Rule run_trials: one worker of a hyper-parameter search."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    lease_gpu()
    from vqaflow.search.run_trials import run_trials  # imports torch, which must see the leased GPU only

    results = ResultsFolder(Path("results"))
    run_trials(
        table=Path(snakemake.input.table),
        folds=Path(snakemake.input.folds),
        model=snakemake.params.model,
        prompt=snakemake.params.prompt,
        train=snakemake.params.train,
        hpo=snakemake.params.hpo,
        work=results.search_work,
        bases=results.bases,
        out=Path(snakemake.output.trials),
    )
