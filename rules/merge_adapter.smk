"""An adapter merged into its base: a checkpoint that vLLM, SGLang or plain transformers load like any other.

In:  results/adapters/{member}/fold{fold}, the base model, results/tables/test.parquet
Out: results/merged/{member}/fold{fold}/: weights, configuration, tokenizer, processor, chat template; and beside it
     fold{fold}.json, which says how near its answers to some test rows are to those of base and adapter

Part of the DAG only if asked for: `snakemake merged` makes all, and each takes as much of the disk as the base.
"""


rule merge_adapter:
    input:
        weights="results/adapters/{member}/fold{fold}/adapter_model.safetensors",
        settings="results/adapters/{member}/fold{fold}/adapter_config.json",
        run="results/adapters/{member}/fold{fold}/run.json",
        table="results/tables/test.parquet",
    output:
        merged=directory("results/merged/{member}/fold{fold}"),
        report="results/merged/{member}/fold{fold}.json",
    log:
        "results/logs/merge_adapter/{member}.fold{fold}.log",
    benchmark:
        "results/benchmarks/merge_adapter/{member}.fold{fold}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1  # sums depend on the number of threads; with one, results do not depend on --cores
    resources:
        gpu=1,
    params:
        **named_base(),
        **named_model(),
        **named_prompt(),
        **named_view(trained_view_of),
        **named("main", main_of, [""], shown="the view that training renders"),
        **named("orders", orders_of, [""]),
        code=code_of("merge_adapter"),
    message:
        "Merging the adapter of {wildcards.member}, fold {wildcards.fold}, into its base"
    script:
        "../workflow_scripts/merge_adapter.py"
