"""The README of an export: what its files are, and the commands that use them."""

import shlex
from collections.abc import Sequence

from vqaflow.config.sections import ModelConfig, TrainConfig

BACK = """\
## Back into vqaflow

Give each training row the probabilities of the model that was trained without its fold, never of one that has seen it.
Write one file for the training rows and one for the test rows, as CSV with the columns id, p_a, p_b, … (each row sums
to 1), and name them in the configuration:

    members:
      main: {}
      other: {probabilities: {oof: other_oof.csv, test: other_test.csv}}
"""
FILES = """\
- `foldK_train.jsonl`: what a model without fold K is trained on; `foldK_val.jsonl`: the rows of fold K
- `train.jsonl`: all training rows; `test.jsonl`: the test rows, in the table's order

Each line is one row: `id`, `messages` (system, user, assistant) and `images`. The prompt is the one that the run's own
models read, choices in their original order; the answer is one letter. `images` are those that the run's training
shows: the image, and its tiles (`pictures/`) if train.view has tiles. Image paths are absolute: on another machine,
replace them or run the export there. Where several people answered, `train` has the rows that data.answers_use trains
on, with the answer of most people, and `shares` says how they answered.
"""


def llama_factory_guide(name: str, base: str, unknown: str, folds: Sequence[int]) -> str:
    """How to train on an export with LLaMA-Factory; `unknown` stands in the settings where a template is not known."""
    first = folds[0] if folds else 0
    return f"""\
# Rows for LLaMA-Factory

{FILES}
`dataset_info.json` describes them as {name}_foldK_train and so on. `train_foldK.yaml` has the run's own settings
(base, LoRA, learning rate, epochs) in LLaMA-Factory's words. If it says `template: {unknown}`, replace that by the
chat template of {base}: https://github.com/hiyouga/LLaMA-Factory lists them.

## Train

In this folder, for each fold:

    llamafactory-cli train train_fold{first}.yaml

## Predict

    llamafactory-cli train train_fold{first}.yaml do_train=false do_predict=true predict_with_generate=true \\
      adapter_name_or_path=saves/fold{first} eval_dataset={name}_test output_dir=saves/fold{first}_test max_new_tokens=1

`generated_predictions.jsonl` has one letter per row, in the order of `test.jsonl`. Letters are votes; probabilities
pool better. To get them, load the adapter and take the softmax over the logits of the letters at the answer's position.

{BACK}"""


def ms_swift_guide(model: ModelConfig, train: TrainConfig, folds: Sequence[int]) -> str:
    """How to train on an export with ms-swift (version 4; version 3 calls --tuner_type --train_type)."""
    first = folds[0] if folds else 0
    options = {
        "model": model.base,
        "tuner_type": "lora",
        "dataset": f"fold{first}_train.jsonl",
        "val_dataset": f"fold{first}_val.jsonl",
        "lora_rank": train.lora.r,
        "lora_alpha": train.lora.alpha,
        "lora_dropout": train.lora.dropout,
        "target_modules": "all-linear",
        "freeze_vit": "true",
        "freeze_aligner": "true",
        "torch_dtype": "bfloat16",
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": train.batch_size * train.accumulation,
        "learning_rate": train.learning_rate,
        "num_train_epochs": train.epochs,
        "warmup_ratio": train.warmup_ratio,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "max_pixels": model.max_pixels,
        "seed": train.seed,
        "output_dir": f"output/fold{first}",
    }
    lines = " \\\n".join(f"      --{key} {shlex.quote(str(value))}" for key, value in options.items())
    return f"""\
# Rows for ms-swift

{FILES}
## Train

In this folder, for each fold (version 3 of ms-swift says --train_type for --tuner_type):

    swift sft \\
{lines}

## Predict

    swift infer --adapters output/fold{first}/*/checkpoint-* --val_dataset test.jsonl \\
      --max_new_tokens 1 --temperature 0 --logprobs true --top_logprobs 20

The result has one line per row, in the order of `test.jsonl`, with the log-probabilities of the first token. Take those
of the letters, apply exp, and divide by their sum.

{BACK}"""


def lmms_eval_guide(name: str, base: str, system: str, folds: Sequence[int]) -> str:
    """How to measure a model on an export with lmms-eval."""
    said = f"\nThe run's system turn is not in the tasks; lmms-eval sets it per model: `{system}`\n" if system else ""
    first = folds[0] if folds else 0
    return f"""\
# The training rows as tasks of lmms-eval

- `{name}_train`: all training rows, for models that have not been trained on them
- `{name}_foldK`: the rows of fold K, for a model that was trained without this fold

Each reads `*.jsonl` and `utils.py` in this folder, by absolute paths: export again after moving it. The prompt is the
one that the run's own models read, choices in their original order. `accuracy` counts a response that names no letter
as wrong; `unanswered` is the share of those.
{said}
## Measure

    python -m lmms_eval --include_path . --tasks {name}_train --model qwen2_5_vl --batch_size 1 \\
      --model_args pretrained={base} --log_samples --output_path lmms_eval_results

`--model` names the family of the base (`python -m lmms_eval --help`). Compare `{name}_fold{first}` with the accuracy of
fold {first} in results/evaluation/metrics.json: the difference shows what the run's way of scoring adds (choice orders,
views, probabilities of letters instead of generated text).
"""
