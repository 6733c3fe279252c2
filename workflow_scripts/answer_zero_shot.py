"""Rule answer_zero_shot: a first submission from an untuned base."""

from pathlib import Path

from vqaflow.ensemble.submission.zero_shot import answer_zero_shot
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    answer_zero_shot(
        scores=[Path(path) for path in snakemake.input.scores],
        test_table=Path(snakemake.input.test_table),
        labels=Path(snakemake.input.labels),
        sample_submission=Path(snakemake.input.sample_submission),
        order_pooling=snakemake.params.order_pooling,
        main=snakemake.params.main,
        probabilities=Path(snakemake.output.probabilities),
        out=Path(snakemake.output.submission),
    )
