"""Rule validate_submission: check that the submission is complete, and report its OOF accuracy."""

from pathlib import Path

from vqaflow.ensemble.submission.validate_submission import validate_submission
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    validate_submission(
        submission=Path(snakemake.input.submission),
        sample_submission=Path(snakemake.input.sample_submission),
        test_table=Path(snakemake.input.test_table),
        metrics=Path(snakemake.input.metrics),
        labels=Path(snakemake.input.labels),
        ensemble=Path(snakemake.input.test),
        out=Path(snakemake.output.validated),
    )
