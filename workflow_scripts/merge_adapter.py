"""Rule merge_adapter: a checkpoint with the adapter of a part merged in."""

from pathlib import Path

from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.process_start import importing
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpu()
    with importing():
        from vqaflow.scoring.merge_adapter import merge_adapter
        from vqaflow.scoring.selection import Task

    given, params = snakemake.input, snakemake.params
    merge_adapter(
        task=Task.of(params.main, params.model, params.prompt, params.view, params.orders, params.main),
        table=Path(given.table),
        part=snakemake.wildcards.fold,
        adapter=Path(given.weights).parent,
        out=Path(snakemake.output.merged),
        report=Path(snakemake.output.report),
    )
