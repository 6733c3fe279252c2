"""Rule write_submission: the file to hand in."""

from pathlib import Path

from vqaflow.progress import stage
from vqaflow.write_submission import write_submission

with stage(snakemake.log[0]):
    write_submission(
        test=Path(snakemake.input.test),
        sample_submission=Path(snakemake.input.sample_submission),
        out=Path(snakemake.output.submission),
    )
