"""Rule run_trials: one worker of a hyper-parameter search."""

from pathlib import Path

from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    lease_gpu()
    from vqaflow.search.run_trials import run_trials  # imports torch, which must see the leased GPU only

    run_trials(
        table=Path(snakemake.input.table),
        folds=Path(snakemake.input.folds),
        model=snakemake.params.model,
        prompt=snakemake.params.prompt,
        train=snakemake.params.train,
        hpo=snakemake.params.hpo,
        work=Path("results/work/hpo"),
        bases=Path("results/base"),
        out=Path(snakemake.output.trials),
    )
