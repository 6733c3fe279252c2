"""Rule score_choices: one view of one fold's OOF rows or of the test rows."""

from pathlib import Path

from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    lease_gpu()
    from vqaflow.scoring.score_choices import score_choices  # imports torch, which must see the leased GPU only

    at, hardware = snakemake.wildcards, snakemake.resources
    score_choices(
        table=Path(snakemake.input.table),
        folds=Path(snakemake.input.folds) if snakemake.input.get("folds") else None,
        fold=int(at.fold),
        view=at.view,
        views=snakemake.params.view,
        adapter=Path(snakemake.input.weights).parent,
        model=snakemake.params.model,
        prompt=snakemake.params.prompt,
        orders=snakemake.params.orders,
        margins_from=Path(snakemake.input.margins) if snakemake.input.get("margins") else None,
        out=Path(snakemake.output.scores),
        work=Path(f"results/work/scores/{at.split}/fold{at.fold}/{at.view}"),
        store={"path": hardware.store, "gb": hardware.store_gb},
        features={"path": "results/work/vision", "gb": hardware.vision_gb},
        bases=Path("results/base"),
        batch_tokens=hardware.batch_tokens,
    )
