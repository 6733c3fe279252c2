"""docs/troubleshooting.md quotes messages: a user who searches the page for a message's words must find them."""

import re

import pytest

from places import PACKAGE, ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# Of tables, images and submissions, some messages are quoted as they were, or put together by several functions.
CODE = "\n".join(
    file.read_text(encoding="utf-8")
    for folder, pattern in ((PACKAGE, "*.py"), (ROOT / "rules", "*.smk"))
    for file in folder.rglob(pattern)
)
WORDS = re.sub(r'"\s*\n\s*f?"', "", CODE)  # texts that go on in the next line
SECTIONS = PAGE[PAGE.index("## The base") : PAGE.index("## Submissions")]
QUOTED = sorted({quoted for line in SECTIONS.splitlines() for quoted in re.findall(r'^\| "([^"]+)"', line)})


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_one(quoted):
    for part in re.split(r"\s*…\s*,?\s*", quoted):
        assert part in WORDS, f"no message says {part!r}"


def test_messages_are_quoted():
    """Else this file tests nothing."""
    assert len(QUOTED) > 15
