"""Rule ensemble_probabilities: pooled, calibrated probabilities for OOF and test rows."""

from pathlib import Path

from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    ensemble_probabilities(
        members=[Path(path).parent for path in snakemake.input.notes],
        train=Path(snakemake.input.train),
        test=Path(snakemake.input.test),
        folds=Path(snakemake.input.folds),
        ensemble=snakemake.params.ensemble,
        oof_out=Path(snakemake.output.oof),
        test_out=Path(snakemake.output.test),
        recipe_out=Path(snakemake.output.recipe),
    )
