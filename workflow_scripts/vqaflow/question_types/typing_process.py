"""`python -m vqaflow.question_types.typing_process`: types the questions of each line of its input (see side_by_side).

A line is a JSON list of rows; its answer is a line with their types in the same order. The process ends with its input.
"""

import gc
import json
import os
import sys


def main() -> None:
    """Answer line by line; what libraries print goes where errors go."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from vqaflow.question_types.classify import classify_many

    gc.disable()  # looking for cycles among a line's many objects would take a fifth of the time
    for line in sys.stdin.buffer:
        found = classify_many(json.loads(line))
        print(json.dumps([[one.qtype, one.flip_unsafe] for one in found]), file=answers, flush=True)
        del found
        gc.collect()
        gc.freeze()  # what is left is the analyser and what is kept for the next lines


if __name__ == "__main__":
    main()
