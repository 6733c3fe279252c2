"""Rule evaluate_oof: accuracy on rows that no adapter has seen, figures, the gallery of mistakes, and advice."""

from pathlib import Path

from vqaflow.evaluation.evaluate_oof import evaluate_oof
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    given = snakemake.input
    evaluate_oof(
        oof=Path(given.oof),
        test=Path(given.test),
        recipe=Path(given.recipe),
        members=[Path(path).parent for path in given.notes],
        scores=[Path(path) for path in given.scores],
        adapters=[Path(path).parent for path in given.histories],
        train_table=Path(given.train_table),
        test_table=Path(given.test_table),
        folds=Path(given.folds),
        out_dir=Path(snakemake.output.folder),
        searches=[Path(path) for path in given.searches],
    )
