"""`python -m vqaflow.model.features.reader_process SOCKETS`: the processes that read images for a job (see `readers`).

What takes seconds to import is imported once. Then this process splits into one per socket; none ever uses a GPU. Each
ends when its socket is closed: then the job has ended, in whatever way.
"""

import logging
import os
import socket
import sys
import traceback
from typing import Any

import torch
import transformers.image_processing_utils  # noqa: F401  what every image processor needs, for all processes at once

from vqaflow.model.encoding import row_images  # noqa: F401  what is read with
from vqaflow.model.features.wire import Ended, receive, send
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log


class Collected(logging.Handler):
    """Keeps what is logged, for the job's own log."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.told.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        """The lines since the last time."""
        told, self.told = self.told, []
        return told


def answer(states: dict[int, Any], request: tuple[Any, ...]) -> tuple[str, Any]:
    """What a request gives: ("made", value), or how it failed, for `readers.Readers` to raise again."""
    new, number, method, arguments = request
    states.update(new)
    try:
        return "made", getattr(states[number], method)(*arguments)
    except UserError as error:
        return "user", str(error)
    except (OSError, MemoryError) as error:
        return "system", error
    except Exception:
        return "unexpected", traceback.format_exc()


def serve(mine: socket.socket) -> None:
    """Answer requests until the job closes the socket."""
    torch.set_num_threads(1)
    collected, states = Collected(), {}
    log.handlers, log.propagate = [collected], False
    log.setLevel(logging.INFO)
    try:
        while True:
            kind, value = answer(states, receive(mine))
            send(mine, (kind, value, collected.taken()))
    except Ended:
        return


def main(numbers: list[int]) -> None:
    """Become one process for each socket, and wait for their ends."""
    sockets = [socket.socket(fileno=number) for number in numbers]
    for mine in sockets:
        if os.fork() == 0:
            for other in sockets:
                if other is not mine:
                    other.close()
            serve(mine)
            os._exit(0)
    for mine in sockets:
        mine.close()
    for _ in sockets:
        os.wait()


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
