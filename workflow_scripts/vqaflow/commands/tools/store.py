"""List, verify or prune the store of finished adapters and scores."""

import argparse
import math
from fnmatch import fnmatchcase
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.runtime.artifact_store import PREFIX, Store, describe, prune, verify
from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = "list: one line per entry; verify: check all, and remove damaged ones; prune: remove the longest unused"
    parser.add_argument("action", choices=["list", "verify", "prune"], help=actions)
    parser.add_argument("--store", type=Path, default=RESULTS.store, help="its folder (default: %(default)s)")
    parser.add_argument("--gb", type=gigabytes, help="prune: keep at most this many gigabytes; 0 removes everything")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    folder = arguments.store
    if arguments.action == "prune" and arguments.gb is None:
        raise UserError("store prune: --gb is missing. Give the gigabytes to keep, for example --gb 10.")
    if not folder.is_dir() or not all(fnmatchcase(path.name, PREFIX) for path in folder.iterdir()):
        raise UserError(f"{folder}: this is not a store. Give the folder of hardware.store in the configuration.")
    store = Store(folder, arguments.gb or 0.0)
    if arguments.action == "prune":
        print(f"{prune(store, arguments.gb)} entries removed")
    elif arguments.action == "verify":
        damaged = verify(store)
        print(f"{len(damaged)} damaged entries removed", *damaged, sep="\n")
    else:
        print(*describe(store), sep="\n")


def gigabytes(text: str) -> float:
    """The type of an option: a finite number that is not negative."""
    number = float(text)
    if not 0 <= number < math.inf:  # nan would remove all entries
        raise argparse.ArgumentTypeError(f"{text} is not a size. Give a number of gigabytes, 0 or more")
    return number
