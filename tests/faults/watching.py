"""What happens to the files in a folder, as Linux tells it (inotify(7))."""

import ctypes
import os
import select
from pathlib import Path

OPENED = 0x20
CHANGES = 0x2 | 0x8 | 0x80 | 0x100 | 0x200  # modified, closed after writing, moved to, created, deleted
HEADER = 16  # bytes of an event before its name


class Watch:
    """Tells of each event of some kinds in a folder and in its folders, also in those that are made later."""

    def __init__(self, root: Path, events: int) -> None:
        self.libc, self.root, self.events = ctypes.CDLL(None), root, events
        self.folders: dict[int, str] = {}
        self.handle = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.follow(str(root))

    def follow(self, root: str) -> None:
        """Watch a folder and those in it; pictures of the demo do not matter."""
        for folder, inner, _ in os.walk(root):
            inner[:] = [name for name in inner if not (folder.endswith("demo") and name in ("train", "test"))]
            number = self.libc.inotify_add_watch(self.handle, os.fsencode(folder), self.events)
            if number >= 0:  # else it is gone already
                self.folders[number] = folder

    def wait(self, seconds: float) -> list[str]:
        """Wait for events, at most so long; returns the path of each event, of which several may be of one file."""
        if not select.select([self.handle], [], [], seconds)[0]:
            return []
        found, data = [], os.read(self.handle, 65536)
        while data:
            end = HEADER + int.from_bytes(data[12:16], "little")
            folder = self.folders.get(int.from_bytes(data[:4], "little"), "")
            if name := os.fsdecode(data[HEADER:end].rstrip(b"\0")):  # else it is the folder itself, opened to list it
                found.append(os.path.join(folder, name))
            data = data[end:]
        for path in set(found):
            if os.path.isdir(path) and path not in self.folders.values():
                self.follow(path)
        return found

    def close(self) -> None:
        """Stop watching."""
        os.close(self.handle)
