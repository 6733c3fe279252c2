"""`python -m vqaflow.bench train|score --json FILE`: speed and memory on this machine, as a table and as JSON.

Each benchmark builds a random model of a published shape, so that it needs no download; `--shape tiny` runs on a CPU.
"""

import importlib
import sys

BENCHMARKS = {
    "train": "a training step: the usual recipe, TRL's trainer and this package",
    "score": "scoring a row: generation, single passes and choice orders that share their prefix",
}


def main(arguments: list[str] | None = None) -> None:
    """Hand over to vqaflow.bench_train or vqaflow.bench_score."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name not in BENCHMARKS:
        print(f"usage: python -m vqaflow.bench {{{','.join(BENCHMARKS)}}} [--json FILE] …\n", file=sys.stderr)
        for known, text in BENCHMARKS.items():
            print(f"  {known:6} {text}", file=sys.stderr)
        raise SystemExit(0 if name in ("-h", "--help") else 2)
    importlib.import_module(f"vqaflow.bench_{name}").main(rest)


if __name__ == "__main__":
    main()
