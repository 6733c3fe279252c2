"""Logits of the four choices, one file per split, fold and view.

In:  an adapter, the table of the split (and the folds: OOF rows are scored by the adapter that has not seen them)
Out: results/scores/{oof,test}/fold{fold}/{view}.parquet

Finished shards are kept in results/work/scores, which Snakemake never deletes: a killed job resumes after the last one.
"""


rule score_choices:
    input:
        weights="results/adapters/fold{fold}/adapter_model.safetensors",
        settings="results/adapters/fold{fold}/adapter_config.json",
        run="results/adapters/fold{fold}/run.json",
        table=table_of,
        folds=folds_of,
        margins=margins_of,
        stored_base=STORED_BASE,
    output:
        scores="results/scores/{split}/fold{fold}/{view}.parquet",
    log:
        "results/logs/score_choices/{split}.fold{fold}.{view}.log",
    benchmark:
        "results/benchmarks/score_choices/{split}.fold{fold}.{view}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1  # sums depend on the number of threads; with one, results do not depend on --cores
    resources:
        gpu=1,
        store=lookup(dpath="hardware/store", within=config),
        store_gb=lookup(dpath="hardware/store_gb", within=config),
        vision_gb=lookup(dpath="hardware/vision_gb", within=config),
        batch_tokens=lookup(dpath="hardware/score_batch_tokens", within=config),
    params:
        base=BASE,
        model=lookup(dpath="model", within=config),
        prompt=lookup(dpath="prompt", within=config),
        view=view_of,
        orders=lookup(dpath="orders", within=config),
        code=code_of("score_choices"),
    message:
        "Scoring {wildcards.split} rows, fold {wildcards.fold}, view {wildcards.view}"
    script:
        "../workflow_scripts/score_choices.py"
