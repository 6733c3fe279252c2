"""The demo's data.

In:  the packages easy-vqa and scikit-learn (handwritten digits)
Out: results/demo/: train.csv, test.csv, sample_submission.csv, test_answers.csv and the images

Part of the DAG only if data.*_csv in the configuration name the demo's files.
"""


rule prepare_demo:
    output:
        train="results/demo/train.csv",
        test="results/demo/test.csv",
        sample_submission="results/demo/sample_submission.csv",
        answers="results/demo/test_answers.csv",
        train_images=directory("results/demo/train"),
        test_images=directory("results/demo/test"),
    log:
        "results/logs/prepare_demo.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("data.demo", config["data"]["demo"]),
        code=code_of("prepare_demo"),
    message:
        "Making the demo's tables and images"
    script:
        "../workflow_scripts/prepare_demo.py"
