"""Merge an adapter into its base, as a checkpoint that any program loads, and compare their answers.

Merges into the base's own 16-bit files, one file of weights at a time, also if the adapter was trained on quantised
weights. The checkpoint is kept only if its answers to some rows of the test table are those of base and adapter, as far
as rounding allows; a .json file beside it says how near they are. docs/adapters_elsewhere.md says what to do with it.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.commands.rules.score_choices import part
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, member_named, members_of, require_kind
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    parser.add_argument("--fold", type=part, required=True, help="fold of the adapter (0, 0-seed7), or all")
    types = ["auto", "bfloat16", "float16", "float32"]
    kind = "type of the weights (auto: that of the base's files, bfloat16 if those have 32 bits)"
    parser.add_argument("--dtype", choices=types, default="auto", help=kind)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results/merged/MEMBER/foldFOLD")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results, fold = checked_config(*arguments.config), arguments.results, arguments.fold
    member = member_named(members_of(config), arguments.member)
    require_kind(member, (TUNED,), "merge")
    if fold not in (possible := member.trained_parts(config["folds"]["n"])):
        raise UserError(f"--fold {fold}: {member.name} has no such adapter. Name one of {', '.join(possible)}.")
    main = member.main_view
    out = arguments.out or results.merged(member.name, fold)
    lease_gpu()
    from vqaflow.scoring.merge_adapter import merge_adapter
    from vqaflow.scoring.selection import Task

    merge_adapter(
        task=Task.of(main, member.model, member.prompt, member.rendering(main), member.orders, main),
        table=results.table("test"),
        part=fold,
        adapter=results.adapter(member.name, fold),
        out=out,
        report=out.with_name(f"{out.name}.json"),
        dtype=arguments.dtype,
    )
