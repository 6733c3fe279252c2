"""Show how much probability the choice letters have in the whole vocabulary: a check of the prompt.

For each member that loads a model: of its untuned base, and of the adapters that are there, each on rows that it has
not seen. A mean of 0.9 or more is usual; a low one says that the model expects something else than a letter after the
prompt. Needs the checked tables and the folds (snakemake results/folds.parquet), and loads each base once.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, UNTUNED, member_named, members_of, require_kind, with_model
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    add_results(parser)
    parser.add_argument("--rows", type=int, default=64, help="rows to measure on, evenly spaced (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config = checked_config(*arguments.config)
    members = members_of(config)
    chosen = with_model(members) if arguments.member is None else [member_named(members, arguments.member)]
    for member in chosen:
        require_kind(member, (TUNED, UNTUNED), "measure")
    lease_gpu()
    from vqaflow.evaluation.label_masses import mass_lines, masses_of
    from vqaflow.runtime.files import write_json

    found = {member.name: masses_of(member, arguments.results, arguments.rows) for member in chosen}
    print(*mass_lines(found), sep="\n")
    if arguments.json is not None:
        write_json(
            arguments.json,
            {name: {whose: mass.as_dict() for whose, mass in by.items()} for name, by in found.items()},
        )
