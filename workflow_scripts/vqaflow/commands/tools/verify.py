"""Check whether a results folder, or an adapter for its base, is whole and works.

results/: reads every artifact and prints one line per check: is it whole, consistent and free of leaks? Needs no base
model; images are checked if they are here.
adapter DIR --base BASE: does the adapter change this base's logits, are all its names and shapes in the base, and would
vLLM and SGLang take it? Prints how to start them.

Changes nothing. Exit status 1 if a check fails.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpu

ADAPTER = "adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    what = "the results folder of a run; or the word adapter, and an adapter's folder"
    parser.add_argument("results", nargs="+", metavar="results | adapter DIR", help=what)
    parser.add_argument("--sample", type=Path, help="the sample submission, to compare the submission's order with")
    base = "for an adapter: its base, a folder or a hub name (default: the one that its files name)"
    parser.add_argument("--base", help=base)
    parser.add_argument("--revision", help="for an adapter: the revision of a hub name")
    parser.add_argument(
        "--files-only", action="store_true", help="for an adapter: load no weights of the base and compare no logits"
    )
    engine = "for an adapter: fail also if this engine would refuse it, or leave a part of it out"
    parser.add_argument("--engine", choices=["vllm", "sglang"], help=engine)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    lines = lines_of(arguments)
    whole = True
    for name, state, found in lines:
        print(f"{state:7}  {name:11}  {found}", flush=True)
        whole &= state != "FAILED" and not (state == "refused" and name == arguments.engine)
    return 0 if whole else 1


def lines_of(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Name, state and finding of each check."""
    match arguments.results:
        case [folder]:
            from vqaflow.evaluation.verify.verify import verify

            return verify(Path(folder), arguments.sample)
        case [first, folder] if first == ADAPTER:
            if not arguments.files_only:
                lease_gpu()
            from vqaflow.evaluation.verify.adapter import model_of, verify_adapter

            model = model_of(Path(folder), arguments.base, arguments.revision)
            return verify_adapter(Path(folder), model, not arguments.files_only)
    raise UserError(f"verify: {' '.join(arguments.results)} is too much. Give a results folder, or adapter DIR.")
