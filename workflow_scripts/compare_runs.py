"""Rule compare_runs: the current run beside the kept ones."""

from pathlib import Path

from vqaflow.evaluation.runs.page import runs_page
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    current = {"current": Path(snakemake.input.metrics).parents[1]}
    kept = [Path(manifest).parent for manifest in snakemake.input.kept]
    runs_page(current | {folder.name: folder for folder in kept}, Path(snakemake.output.page))
