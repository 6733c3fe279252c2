"""Rule validate_tables: checked tables from the raw CSVs and images."""

from pathlib import Path

from vqaflow.data.validate_tables import validate_tables
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    validate_tables(
        train_csv=Path(snakemake.input.train_csv),
        test_csv=Path(snakemake.input.test_csv),
        sample_submission=Path(snakemake.input.sample_submission),
        image_root=Path(snakemake.params.image_root),
        columns=snakemake.params.columns,
        on_bad_row=snakemake.params.on_bad_row,
        normal_form=snakemake.params.normal_form,
        max_image_pixels=snakemake.params.max_image_pixels,
        train_out=Path(snakemake.output.train),
        test_out=Path(snakemake.output.test),
        problems_out=Path(snakemake.output.problems),
    )
