"""From raw CSVs to checked tables, figures of what they hold, and leak-free folds.

In:  data.train_csv, data.more_train, data.test_csv, data.sample_submission and the images under data.image_root
Out: results/tables/{train,test}.parquet, results/tables/{problems.csv,labels.json,images.json}, results/eda/,
     results/folds.parquet
"""


rule validate_tables:
    input:
        train_csv=given(lookup(dpath="data/train_csv", within=config)),
        test_csv=given(lookup(dpath="data/test_csv", within=config)),
        sample_submission=given(lookup(dpath="data/sample_submission", within=config)),
        more_csvs=[given(entry["csv"]) for entry in config["data"]["more_train"]],
    output:
        # Bad input must not destroy good tables: if an update fails, the previous files are restored.
        train=update("results/tables/train.parquet"),
        test=update("results/tables/test.parquet"),
        problems=update("results/tables/problems.csv"),
        labels=update("results/tables/labels.json"),
        images=update("results/tables/images.json"),
    log:
        "results/logs/validate_tables.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **not_compared(results=str(RESULTS.folder)),
        **limits_of_rows(MODELS),
        **named("data.image_root", config["data"]["image_root"]),
        **named("data.test_image_root", config["data"]["test_image_root"]),
        **named("data.columns", config["data"]["columns"]),
        **named("data.encoding", config["data"]["encoding"]),
        **named("data.missing_choices", config["data"]["missing_choices"]),
        **named("data.answers", config["data"]["answers"]),
        **named("data.submission_labels", config["data"]["submission_labels"]),
        **named("data.answers_by", config["data"]["answers_by"]),
        **named("data.more_train", config["data"]["more_train"]),
        **named("data.on_bad_row", config["data"]["on_bad_row"]),
        **named("data.max_image_pixels", config["data"]["max_image_pixels"]),
        **named("data.truncated_images", config["data"]["truncated_images"]),
        **named("data.follow_links", config["data"]["follow_links"]),
        **named("data.max_quarantined", config["data"]["max_quarantined"]),
        **named("data.contradictions", config["data"]["contradictions"]),
        **named("prompt.normal_form", config["prompt"]["normal_form"]),
        images=state_of_images,
        code=code_of("validate_tables"),
    message:
        "Checking every row and image"
    script:
        "../workflow_scripts/validate_tables.py"


rule make_folds:
    input:
        train="results/tables/train.parquet",
        test="results/tables/test.parquet",
    output:
        folds="results/folds.parquet",
        report="results/folds.report.json",
    log:
        "results/logs/make_folds.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("folds", config["folds"]),
        code=code_of("make_folds"),
    message:
        "Splitting the training rows into leak-free folds"
    script:
        "../workflow_scripts/make_folds.py"


rule explore_data:
    input:
        train="results/tables/train.parquet",
        test="results/tables/test.parquet",
        folds="results/folds.parquet",
    output:
        # The folder is replaced as a whole. The file in it is what other rules depend on: only files have checksums.
        folder=report(
            directory("results/eda"),
            patterns=["{figure}.png"],
            caption="../docs/captions/eda.rst",
            category="1 Data",
            labels={"figure": "{figure}"},
        ),
        summary="results/eda/summary.json",
    log:
        "results/logs/explore_data.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("token_pixels", token_pixels(EXPLORED["base"], EXPLORED["revision"]), shown="pixels of a visual token"),
        **named("model.min_pixels", EXPLORED["min_pixels"]),
        **named("model.max_pixels", EXPLORED["max_pixels"]),
        **named("views", explored_views(config)),
        code=code_of("explore_data"),
    message:
        "Drawing what the data look like"
    script:
        "../workflow_scripts/explore_data.py"
