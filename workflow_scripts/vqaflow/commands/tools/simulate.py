"""Measure what a choice of the workflow is worth, on the demo with several seeds.

simulate epochs: which epoch of an adapter to keep (train.keep). It trains each fold of the demo once per base and seed,
and judges each rule by the demo's test rows, which chose nothing. Needs the demo's tables and folds (snakemake
results/folds.parquet); 30 trainings take minutes on a GPU and hours on a CPU.

simulate intervals: how often the interval that a run tells for new rows holds their accuracy. It draws the demo with
each seed, trains all folds and scores the test rows; and it does the same with made scores, many times. Scores are kept
in results/work/intervals: what is there is not trained again. Drawing needs the package easy-vqa, training does not.

simulate comparisons: how often `vqaflow compare` and its parts find a difference where there is none.

simulate options: what options of training gain (LoRA+, mirrored rows, soft labels, a refit). It trains each fold of the
demo with each option and seed, and tests OOF and test rows against the default. Needs what `epochs` needs; scores are
kept in results/work/options. 13 options of three seeds take minutes on a GPU (--jobs 10) and a day on a CPU.

Shapes: E epochs.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.messages import did_you_mean

BASES = ["assets/tiny-qwen2_5-vl", "assets/tiny-qwen3-vl"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True)
    epochs = actions.add_parser("epochs", help="which epoch of an adapter to keep")
    add_config(epochs)
    add_results(epochs)
    epochs.add_argument("--bases", nargs="+", default=BASES, help="the bases (default: the two tiny ones)")
    epochs.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], help="seeds of the trainings")
    epochs.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")

    intervals = actions.add_parser("intervals", help="whether the told interval holds the accuracy on new rows")
    add_config(intervals)
    add_results(intervals)
    intervals.add_argument("--bases", nargs="+", default=BASES[:1], help="the bases (default: the demo's)")
    intervals.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 21)), help="seeds of drawn demos")
    intervals.add_argument("--draw-only", action="store_true", help="only draw the demos, for a machine that trains")
    intervals.add_argument("--made", type=int, default=1000, metavar="N", help="sets of made scores (default: 1000)")
    intervals.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    options = actions.add_parser("options", help="what options of training gain")
    add_config(options)
    add_results(options)
    options.add_argument("--options", nargs="+", metavar="NAME", help="train only these and the default (default: all)")
    options.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="seeds of the trainings")
    options.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the GPU (default: 1)")
    options.add_argument("--train-only", action="store_true", help="judge nothing, for a machine that trains")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    comparisons = actions.add_parser("comparisons", help="how often a difference is found where there is none")
    comparisons.add_argument("--draws", type=int, default=1000, help="null cases of each kind (default: 1000)")
    comparisons.add_argument("--seed", type=int, default=1, help="seed of the null cases (default: 1)")
    comparisons.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    actions = {
        "epochs": epochs_command,
        "intervals": intervals_command,
        "options": options_command,
        "comparisons": comparisons_command,
    }
    actions[arguments.action](arguments)


def epochs_command(arguments: argparse.Namespace) -> None:
    """Measure which epoch to keep."""
    config = checked_config(*arguments.config)
    lease_gpu()
    from vqaflow.demo.epochs import judge, judged_lines, train_curves
    from vqaflow.runtime.files import write_json
    from vqaflow.runtime.versions import package_versions

    folds = range(config["folds"]["n"])
    todo = [(base, fold, seed) for seed in arguments.seeds for base in arguments.bases for fold in folds]
    runs = [train_curves(config, arguments.results, *one) for one in todo]
    judged = judge(runs)
    print(*judged_lines(judged), sep="\n")
    if arguments.json is not None:
        about = {"seeds": arguments.seeds, "folds": len(folds), "versions": package_versions()}
        curves = [
            {"base": one.base, "fold": one.fold, "seed": one.seed, "accuracy": one.accuracy_E.tolist()} for one in runs
        ]
        write_json(arguments.json, about | {"judged": judged, "held_out_accuracy": curves})


def intervals_command(arguments: argparse.Namespace) -> None:
    """Measure how often the told interval holds."""
    config = checked_config(*arguments.config)
    if arguments.seeds and not arguments.draw_only:
        lease_gpu()
    from vqaflow.demo.redraws import folder_of, score_demo

    if absent := [seed for seed in arguments.seeds if not folder_of(arguments.results, seed).folds.is_file()]:
        from vqaflow.demo.draws import draw_demo

        for seed in absent:
            draw_demo(config, arguments.results, seed)
    if arguments.draw_only:
        return
    drawn = {
        base: {seed: score_demo(config, arguments.results, base, seed) for seed in arguments.seeds}
        for base in (arguments.bases if arguments.seeds else [])
    }
    from vqaflow.demo.intervals import held_lines, judge_drawn, judge_made
    from vqaflow.runtime.files import write_json
    from vqaflow.runtime.versions import package_versions

    found = {"drawn": judge_drawn(drawn), "made": judge_made(arguments.made)}
    print(*held_lines(found), sep="\n")
    if arguments.json is not None:
        about = {"seeds": arguments.seeds, "versions": package_versions()}
        write_json(arguments.json, about | found)


def options_command(arguments: argparse.Namespace) -> None:
    """Measure what options of training gain."""
    config, at = checked_config(*arguments.config), arguments.results
    from vqaflow.demo.option_runs import DEFAULT, OPTIONS, runs_of, scores_file, train_all

    for name in arguments.options or []:
        if name not in OPTIONS:
            raise UserError(f"--options {name}: there is no such option; {did_you_mean(name, OPTIONS)}")
    folds = config["folds"]["n"]
    runs = runs_of([DEFAULT, *(arguments.options or OPTIONS)], arguments.seeds, folds)
    if not all(scores_file(at, run).is_file() for run in runs):
        lease_gpu()
        train_all(config, at, runs, arguments.jobs)
    if arguments.train_only:
        return
    from vqaflow.demo.options import judge, judged_lines, read_demo, read_options
    from vqaflow.runtime.files import write_json
    from vqaflow.runtime.versions import package_versions

    demo = read_demo(at, config["folds"]["group_by"])
    judged = judge(demo, read_options(at, demo, arguments.seeds, folds))
    print(*judged_lines(judged), sep="\n")
    if arguments.json is not None:
        about = {"seeds": arguments.seeds, "folds": folds, "versions": package_versions()}
        write_json(arguments.json, about | {"options": judged})


def comparisons_command(arguments: argparse.Namespace) -> None:
    """Measure false positives of comparisons."""
    from vqaflow.demo.comparisons import comparison_lines, judge_comparisons
    from vqaflow.runtime.files import write_json

    found = judge_comparisons(arguments.draws, arguments.seed)
    print(*comparison_lines(found), sep="\n")
    if arguments.json is not None:
        write_json(arguments.json, {"draws": arguments.draws, "seed": arguments.seed, "found": found})
