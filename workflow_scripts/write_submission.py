"""Rule write_submission: the file to submit."""

from pathlib import Path

from vqaflow.ensemble.submission.write_submission import write_submission
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    write_submission(
        test=Path(snakemake.input.test),
        sample_submission=Path(snakemake.input.sample_submission),
        out=Path(snakemake.output.submission),
        labels=Path(snakemake.input.labels),
        test_table=Path(snakemake.input.test_table),
    )
