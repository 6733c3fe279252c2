"""Rule validate_tables: checked tables from the raw CSVs and images."""

from pathlib import Path

from vqaflow.config.sections import ColumnsConfig, section
from vqaflow.data.images.visual_tokens import limits_from
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    validate_tables(
        RawFiles(
            train_csv=Path(snakemake.input.train_csv),
            test_csv=Path(snakemake.input.test_csv),
            sample_submission=Path(snakemake.input.sample_submission),
            image_root=Path(snakemake.params.image_root),
        ),
        TableSettings(
            columns=section(ColumnsConfig, snakemake.params.columns),
            on_bad_row=snakemake.params.on_bad_row,
            normal_form=snakemake.params.normal_form,
            max_image_pixels=snakemake.params.max_image_pixels,
            truncated_images=snakemake.params.truncated_images,
            follow_links=snakemake.params.follow_links,
            resize_limits=limits_from(snakemake.resources.resize_limits),
        ),
        TableFiles(*(Path(snakemake.output[name]) for name in ("train", "test", "problems"))),
    )
