"""One LoRA adapter a fold.

In:  results/tables/train.parquet, results/folds.parquet, the base model
Out: results/adapters/fold{fold}/: PEFT adapter, run.json, log.csv, curve.png

Checkpoints wait in results/work/train/fold{fold}, which Snakemake never deletes: a killed job goes on from the last one.
"""


rule train_adapter:
    input:
        table="results/tables/train.parquet",
        folds="results/folds.parquet",
    output:
        adapter=report(
            directory("results/adapters/fold{fold}"),
            patterns=["{figure}.png"],
            caption="../docs/captions/training.rst",
            category="2 Training",
            labels={"fold": "{fold}", "figure": "{figure}"},
        ),
    log:
        "results/logs/train_adapter/fold{fold}.log",
    benchmark:
        "results/benchmarks/train_adapter/fold{fold}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 2
    resources:
        gpu=1,
    params:
        model=lookup(dpath="model", within=config),
        prompt=lookup(dpath="prompt", within=config),
        train=lookup(dpath="train", within=config),
        code=code_of("train_adapter"),
    message:
        "Training the adapter of fold {wildcards.fold}"
    script:
        "../workflow_scripts/train_adapter.py"
