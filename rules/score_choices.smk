"""Logits of the choices, one file per member, split, fold and view.

In:  an adapter or an untuned base, the table of the split, and the folds: an adapter scores OOF rows that it has not seen,
     and is refused if it was not trained by these folds
Out: results/scores/{member}/{oof,test}/fold{fold}/{view}.parquet, and beside it {view}.json with the seconds it took

A job that has loaded the base also scores the views and splits of its member and fold that this run still needs, into the
store; their own jobs take them from there (see scoring/others.py).

Finished shards are kept in results/work/scores, which Snakemake never deletes: a killed job resumes after the last one.
"""


rule score_choices:
    input:
        weights=adapter_file("adapter_model.safetensors"),
        settings=adapter_file("adapter_config.json"),
        run=adapter_file("run.json"),
        table=table_of,
        folds=folds_of,
        trained_folds=trained_folds_of,
        margins=margins_of,
        stored_base=stored_base_of,
    output:
        scores="results/scores/{member}/{split}/fold{fold}/{view}.parquet",
        cost="results/scores/{member}/{split}/fold{fold}/{view}.json",
    log:
        "results/logs/score_choices/{member}.{split}.fold{fold}.{view}.log",
    benchmark:
        "results/benchmarks/score_choices/{member}.{split}.fold{fold}.{view}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1  # sums depend on the number of threads; with one, results do not depend on --cores
    resources:
        gpu=lambda wildcards: MEMBERS[wildcards.member].devices,
    params:
        **not_compared(
            results=str(RESULTS.folder),
            store=lookup(dpath="hardware/store", within=config),
            store_gb=lookup(dpath="hardware/store_gb", within=config),
            vision_gb=lookup(dpath="hardware/vision_gb", within=config),
            batch_tokens=lookup(dpath="hardware/score_batch_tokens", within=config),
        ),
        **named_base(),
        **named_model(),
        **named_prompt(),
        **named_view(view_of),
        **named("main", main_of, [""], shown="the view that training renders"),
        **named("orders", orders_of, [""]),
        code=code_of("score_choices"),
        devices=lambda wildcards, output: MEMBERS[wildcards.member].devices,
        others=lambda wildcards, output: others_of(wildcards),
    message:
        "Scoring {wildcards.split} rows, {wildcards.member}, fold {wildcards.fold}, view {wildcards.view}"
    script:
        "../workflow_scripts/score_choices.py"
