"""Rule train_adapter: one fold's LoRA adapter."""

from pathlib import Path

from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    lease_gpu()
    from vqaflow.training.train_adapter import train_adapter  # imports torch, which must see the leased GPU only

    train_adapter(
        table=Path(snakemake.input.table),
        folds=Path(snakemake.input.folds),
        fold=int(snakemake.wildcards.fold),
        model=snakemake.params.model,
        prompt=snakemake.params.prompt,
        train=snakemake.params.train,
        best=Path(snakemake.input.best) if snakemake.input.get("best") else None,
        out=Path(snakemake.output.adapter),
        work=Path(f"results/work/train/fold{snakemake.wildcards.fold}"),
        store={"path": snakemake.resources.store, "gb": snakemake.resources.store_gb},
        bases=Path("results/base"),
        tracking=Path(f"results/tracking/fold{snakemake.wildcards.fold}"),
    )
