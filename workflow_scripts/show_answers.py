"""Rule show_answers: a gallery of the test answers, the least certain first."""

from pathlib import Path

from vqaflow.evaluation.show_answers import show_answers
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    given = snakemake.input
    show_answers(
        test=Path(given.test),
        test_table=Path(given.test_table),
        submission=Path(given.submission),
        members=[Path(path).parent for path in given.notes],
        scores=[Path(path) for path in given.scores],
        out=Path(snakemake.output.page),
    )
