"""Rule evaluate_oof: accuracy on rows that no adapter has seen, figures and the gallery of mistakes."""

from pathlib import Path

from vqaflow.evaluation.evaluate_oof import evaluate_oof
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    evaluate_oof(
        oof=Path(snakemake.input.oof),
        test=Path(snakemake.input.test),
        scores=[Path(p) for p in snakemake.input.scores],
        train_table=Path(snakemake.input.train_table),
        test_table=Path(snakemake.input.test_table),
        folds=Path(snakemake.input.folds),
        recipe=Path(snakemake.input.recipe),
        adapters=[Path(p).parent for p in snakemake.input.histories],
        out_dir=Path(snakemake.output.folder),
    )
