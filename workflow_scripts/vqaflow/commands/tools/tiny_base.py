"""Pre-train one of the demo's tiny base models again, on generated pictures and questions."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config
from vqaflow.config.sections import ModelConfig, PromptConfig, section
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model; replaced as a whole")
    parser.add_argument(
        "--family",
        choices=("qwen2_5_vl", "qwen3_vl"),
        default="qwen2_5_vl",
        help="the kind of model (default: %(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=0, help="train on this many rows instead of for --minutes")
    parser.add_argument("--batch", type=int, default=1024, help="rows per step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="its peak (default: %(default)s)")
    parser.add_argument("--warmup-steps", type=int, default=200, help="steps until the peak (default: %(default)s)")
    parser.add_argument("--weight-decay", type=float, default=0.05, help="of the optimiser (default: %(default)s)")
    parser.add_argument(
        "--validation-rows", type=int, default=16384, help="generated rows to measure on (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and generated rows (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config = checked_config(*arguments.config)
    lease_gpu()
    from vqaflow.demo.tiny_base.pretrainer import PretrainingSettings
    from vqaflow.demo.tiny_base.pretraining import train
    from vqaflow.model.base import best_device

    options = {key: value for key, value in vars(arguments).items() if key not in ("config", "out")}
    settings, prompt = section(ModelConfig, config["model"]), section(PromptConfig, config["prompt"])
    train(PretrainingSettings(**options), settings, prompt, best_device(), arguments.out)
