"""The browser in which the galleries are tried."""

import pytest

from browser import browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A browser for all tests of a module."""
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def page(opened):
    """The browser with the window of a laptop, and without what an earlier test noted."""
    opened.resize(1300, 900)
    opened.errors.clear()
    return opened
