"""Rule prepare_demo: the demo's tables and images."""

from pathlib import Path

from vqaflow.demo.prepare_demo import prepare_demo
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    prepare_demo(demo=snakemake.params.demo, out=Path(snakemake.output.train).parent)
