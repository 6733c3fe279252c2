"""Rule store_base: the quantised base, once for all jobs."""

from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpu()
    from vqaflow.model.store_base import store_base  # imports torch, which must see the leased GPU only

    store_base(model=snakemake.params.model, bases=RESULTS.bases, out=Path(snakemake.output.stored))
