"""Python runs this file at the start of each process that has its folder on PYTHONPATH: no process reaches a network.

Each attempt is refused, and noted in the file that BLOCKED_NOTES names, so that an attempt which a library survives is
seen too.
"""

import os
import sys
import traceback

EVENTS = {"socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"}


def refuse(event: str, arguments: tuple) -> None:
    """Refuse what would leave this machine; sockets of files (AF_UNIX) are processes of this machine."""
    if event not in EVENTS:
        return
    if event in ("socket.connect", "socket.sendto") and not isinstance(arguments[1], tuple):
        return
    with open(os.environ["BLOCKED_NOTES"], "a", encoding="utf-8") as notes:
        notes.write(f"{event} {arguments[-1] if 'addr' not in event else arguments[0]!r}\n")
        notes.write("".join(traceback.format_stack()[-6:-1]))
    raise ConnectionRefusedError(f"{event} is blocked")


sys.addaudithook(refuse)
