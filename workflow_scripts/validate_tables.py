"""Rule validate_tables: checked tables from the raw CSVs and images."""

import time
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.data.images.changes import record_images
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    given = dict(snakemake.input.items()) | dict(snakemake.params.items())
    began_ns = time.time_ns()
    seen = validate_tables(
        RawFiles.read(given),
        TableSettings.read(given, snakemake.params.resize_limits),
        TableFiles(*(Path(snakemake.output[name]) for name in ("train", "test", "problems", "labels"))),
    )
    times = ResultsFolder(Path(snakemake.params.results)).image_times
    record_images(seen, given["images"], began_ns, Path(snakemake.output.images), times)
