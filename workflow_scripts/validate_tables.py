"""Rule validate_tables: checked tables from the raw CSVs and images."""

from pathlib import Path

from vqaflow.data.images.visual_tokens import limits_from
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    given = dict(snakemake.input.items()) | dict(snakemake.params.items())
    validate_tables(
        RawFiles.read(given),
        TableSettings.read(given, limits_from(snakemake.resources.resize_limits)),
        TableFiles(*(Path(snakemake.output[name]) for name in ("train", "test", "problems", "labels"))),
    )
