"""A headless Chromium for tests of pages: driven over a pipe (DevTools protocol), every request on record."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
COMMANDS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--hide-scrollbars",
)
# Chromium reads commands from descriptor 3 and answers on 4, which other files may have here.
LAUNCH = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Page:
    """One tab; `requests` are the addresses that it asked for, `errors` what its scripts and policies complained of."""

    def __init__(self, commands: int, replies: int) -> None:
        self.commands, self.replies = commands, replies
        self.number, self.rest, self.session = 0, b"", None
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.loads = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One DevTools command and its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        while True:
            reply = self.read()
            if reply.get("id") == self.number:
                assert "error" not in reply, (method, reply["error"])
                return reply["result"]

    def read(self) -> dict[str, Any]:
        """The next message, an event noted."""
        end = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.replies], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.replies, 1 << 20)
            assert part, "the browser has ended"
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(text)
        self.note(message.get("method"), message.get("params", {}))
        return message

    def note(self, method: str | None, params: dict[str, Any]) -> None:
        """Keep what tests ask about."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["exception"].get("description", "exception"))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Page.loadEventFired":
            self.loads += 1

    def open(self, path: Path, fragment: str = "") -> None:
        """Reload a file and wait for it."""
        self.load("about:blank")  # else a new fragment alone would load nothing
        self.requests.clear()
        self.load(path.resolve().as_uri() + fragment)

    def load(self, url: str) -> None:
        """Go to an address and wait for its load event."""
        loads = self.loads
        self.call("Page.navigate", url=url)
        while self.loads == loads:
            self.read()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def run_in_frame(self, script: str) -> Any:
        """The value of a JavaScript expression within the page's first frame, or None before there is one."""
        frames = self.call("Page.getFrameTree")["frameTree"].get("childFrames")
        if not frames:
            return None
        world = self.call("Page.createIsolatedWorld", frameId=frames[0]["frame"]["id"])["executionContextId"]
        result = self.call("Runtime.evaluate", expression=script, contextId=world, returnByValue=True)
        return result["result"].get("value")

    def wait(self, condition: str, in_frame: bool = False) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not (self.run_in_frame if in_frame else self.run)(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """One stroke of a key, named as in KeyboardEvent.key."""
        text = {"text": key} if len(key) == 1 else {}
        text |= {"windowsVirtualKeyCode": 27} if key == "Escape" else {}  # else the browser itself does not know it
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        x, y = self.run(
            f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Make the system's colour scheme light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a new Chromium whose profile is in `folder`; skips the test where none is installed."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium fonts-nanum)")
    (child_in, commands), (replies, child_out) = os.pipe(), os.pipe()

    launch = [sys.executable, "-c", LAUNCH, str(child_in), str(child_out), command]
    with (folder / "chromium.log").open("wb") as errors:
        process = subprocess.Popen(
            [*launch, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
            stdout=errors,
            stderr=errors,
            pass_fds=(child_in, child_out),
        )
    os.close(child_in)
    os.close(child_out)
    try:
        yield Page(commands, replies)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(replies)
