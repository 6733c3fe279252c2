"""The browser in which pages are tried."""

import pytest

from browser import browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser for all tests of a module, with the window of a laptop."""
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        opened.resize(1300, 900)
        yield opened
