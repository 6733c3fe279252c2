"""Rule make_folds: leak-free folds of the training rows."""

from pathlib import Path

from vqaflow.data.folds.make_folds import make_folds
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    make_folds(
        train=Path(snakemake.input.train),
        test=Path(snakemake.input.test),
        **snakemake.params.folds,
        folds_out=Path(snakemake.output.folds),
        report_out=Path(snakemake.output.report),
    )
