"""Say what this machine has for a run, what is too old or too new, and what to do.

Looks at Python, driver, cards, packages, memory, disk and the configuration's bases, and needs no network. The packages
are imported in a process of their own, so a broken one is told as well. Exit status 1 only if something will stop a
run. docs/versions.md has the supported versions.
"""

import argparse
import json

from vqaflow.commands.options import add_config, add_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)
    parser.add_argument("--json", action="store_true", help="print the same for programs")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from vqaflow.config.checkout import completed
    from vqaflow.config.loading import REPOSITORY, checked_config
    from vqaflow.config.members import FOREIGN, members_of
    from vqaflow.plan.doctor.facts import facts_here
    from vqaflow.plan.doctor.findings import findings
    from vqaflow.plan.doctor.lines import as_json, lines

    config = checked_config(*arguments.config)
    if (REPOSITORY / "config.yaml").is_file():  # then a base beside it is found from any folder, as by Snakemake
        config = completed(config, REPOSITORY)
    members = members_of(config).values()
    facts = facts_here(arguments.results.folder, [member.model for member in members if member.kind != FOREIGN])
    found = findings(facts)
    if arguments.json:
        print(json.dumps(as_json(facts, found), indent=2))
    else:
        print(*lines(facts, found), sep="\n")
    return int(any(finding.stops for finding in found))
