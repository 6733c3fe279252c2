"""One LoRA adapter per fold.

In:  results/tables/train.parquet, results/folds.parquet, the base model; results/hpo/best.yaml if hpo.enabled
Out: results/adapters/fold{fold}/: PEFT adapter, run.json, log.csv, curve.png

Plan and checkpoints are kept in results/work/train/fold{fold}, which Snakemake never deletes: a killed job resumes from
the last checkpoint. Trackers write to results/tracking/fold{fold}.
"""


rule train_adapter:
    input:
        table="results/tables/train.parquet",
        folds="results/folds.parquet",
        best=best_of,
        stored_base=STORED_BASE,
    output:
        # The folder as a target, and the files in it that other rules depend on: only files have checksums.
        adapter=directory("results/adapters/fold{fold}"),
        weights="results/adapters/fold{fold}/adapter_model.safetensors",
        settings="results/adapters/fold{fold}/adapter_config.json",
        run="results/adapters/fold{fold}/run.json",
        history="results/adapters/fold{fold}/log.csv",
        curve=report(
            "results/adapters/fold{fold}/curve.png",
            caption="../docs/captions/training.rst",
            category="2 Training",
            labels={"fold": "{fold}", "figure": "training curve"},
        ),
    log:
        "results/logs/train_adapter/fold{fold}.log",
    benchmark:
        "results/benchmarks/train_adapter/fold{fold}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1  # sums depend on the number of threads; with one, results do not depend on --cores
    resources:
        gpu=1,
        store=lookup(dpath="hardware/store", within=config),
        store_gb=lookup(dpath="hardware/store_gb", within=config),
    params:
        base=BASE,
        model=lookup(dpath="model", within=config),
        prompt=lookup(dpath="prompt", within=config),
        train=lookup(dpath="train", within=config),
        code=code_of("train_adapter"),
    message:
        "Training the adapter of fold {wildcards.fold}"
    script:
        "../workflow_scripts/train_adapter.py"
