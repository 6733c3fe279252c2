"""Signed figures: what would break if a difference that rounds to nothing looked like a loss."""

import pytest

from vqaflow.evaluation.comparison_text import interval
from vqaflow.evaluation.pages.summary import bounds_text
from vqaflow.evaluation.picks.wording import bounds, points


@pytest.mark.parametrize("write", [interval, bounds])
def test_an_interval_has_no_negative_zero(write):
    assert write((-0.00001, 0.01), "+") == "[+0.00, +1.00]"
    assert write((-0.01, -0.00001)) == "[-1.00, 0.00]"


def test_points_and_bounds_have_no_negative_zero():
    assert points(-0.00001) == "0.00" and points(-0.00001, "+") == "+0.00" and points(-0.01, "+") == "-1.00"
    assert "-0" not in bounds_text((-0.00001, 0.01))
