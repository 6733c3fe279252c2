"""Rule explore_data: figures and a summary of the tables."""

from pathlib import Path

from vqaflow.data.exploration.explore_data import explore_data
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    explore_data(
        train=Path(snakemake.input.train),
        test=Path(snakemake.input.test),
        folds=Path(snakemake.input.folds),
        token_pixels=snakemake.params.token_pixels,
        min_pixels=snakemake.params.min_pixels,
        max_pixels=snakemake.params.max_pixels,
        views=snakemake.params.views,
        out_dir=Path(snakemake.output.folder),
    )
