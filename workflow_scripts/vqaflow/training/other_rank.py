"""`python -m vqaflow.training.other_rank`: a rank that rank 0 starts (see `ranks`); its task comes as a pickle.

It ends when its input does: then rank 0 is gone, in whatever way.
"""

import os
import pickle
import signal
import sys
import threading

from vqaflow.runtime.stage import start_log
from vqaflow.training.ranks import take_seat


def end_with_input() -> None:
    """Wait for the end of the input, and end the process, which may be waiting for ranks that are gone."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # rank 0 obeys them: it saves, leaves, and this process with it
        signal.signal(number, signal.SIG_IGN)
    start_log()
    seat, job = pickle.load(sys.stdin.buffer)
    threading.Thread(target=end_with_input, daemon=True).start()
    take_seat(seat, job)
