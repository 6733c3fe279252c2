"""Rule store_base: the quantised base, once for all jobs."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.process_start import importing
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    devices = snakemake.params.devices  # Snakemake lowers resources to its limits
    lease_gpus(devices, key="model.devices")
    with importing():
        from vqaflow.model.store_base import store_base  # imports torch, which must see the leased GPU only

    results, out = ResultsFolder(Path(snakemake.params.results)), Path(snakemake.output.stored)
    store_base(model=snakemake.params.model, bases=results.bases, out=out, devices=devices)
