"""The limits under which a thin image would be resized to nothing, for the checks of the tables."""

from collections.abc import Iterable

from vqaflow.config.members import Member
from vqaflow.data.images.decoding import MAX_ASPECT
from vqaflow.data.images.visual_tokens import token_pixels
from vqaflow.model.families.known import family_of_base


def resize_limits(members: Iterable[Member]) -> list[list[int]]:
    """For each model and view that is shown: pixels along the side of a visual token, and the largest area.

    Families whose passes are separate cut images into tiles or keep to a budget, of which even the thinnest image has a
    part. Also left out are limits for which no image of a permitted shape is too thin: most real runs have none.
    """
    limits = set()
    for member in members:
        base, revision = member.model["base"], member.model["revision"]
        family = family_of_base(base, revision)
        if family is not None and family.prefix == "separate":
            continue
        for view in member.shown_views:
            largest = member.views[view].get("max_pixels") or member.model["max_pixels"]
            limits.add((token_pixels(base, revision), largest))
    return sorted([pixels, largest] for pixels, largest in limits if largest < MAX_ASPECT * pixels**2)
