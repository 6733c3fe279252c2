"""Write or check a Workflow Run RO-Crate of a finished run, for others and for archives.

write: a new folder with the workflow's files, the results and ro-crate-metadata.json, which says of each job what it
read and wrote (with digests), when, and with which software. Files that show rows or pictures are named by their
digests alone, unless --with-data. Authors and licences come from `about` in the configuration.
check: whether a crate is whole; then what rocrate-validator says of it, if that is installed. docs/provenance.md
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="what", required=True)
    write = actions.add_parser("write", help="write a crate of a finished run")
    write.add_argument("folder", type=Path, help="a new folder")
    add_config(write)
    add_results(write)
    write.add_argument("--workflow", type=Path, metavar="FOLDER", help="the Snakefile's folder (default: vqaflow's)")
    write.add_argument("--with-data", action="store_true", help="copy tables and pages that show rows or pictures, too")
    check = actions.add_parser("check", help="check a crate")
    check.add_argument("folder", type=Path, help="the crate")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.what == "check":
        from vqaflow.provenance.crate_checks import check_crate, validate

        for line in check_crate(arguments.folder):
            print(f"ok       {line}", flush=True)
        print(f"ok       {validate(arguments.folder)}")
        return
    from vqaflow.config.loading import REPOSITORY, checked_config
    from vqaflow.provenance.crate import write_crate

    config = checked_config(*arguments.config)
    workflow = arguments.workflow or REPOSITORY
    write_crate(arguments.results, config, workflow, arguments.folder, arguments.with_data)
    if config.get("about", {}).get("license") is None:
        print("about.license is not given: the crate says so. Name one in the configuration, such as Apache-2.0.")
