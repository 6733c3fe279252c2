"""The names that `ensemble.recipe` may have: a pool, a pool without a member or without one of its views, one member.

`mean` · `mean without MEMBER` · `mean without MEMBER/VIEW` · `only MEMBER`
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vqaflow.artifacts.parts import ORIGINAL
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean

POOL_NAMES = ("mean", "log_mean", "weighted", "stacking", "vote")  # simplest first
LEARNING = ("weighted", "stacking", "vote")  # these learn from OOF answers what weight a source has
SPECIAL = ("auto", "default")  # what `ensemble.recipe` may be besides a name
WITHOUT, ONLY = " without ", "only "


@dataclass(frozen=True)
class Recipe:
    """One way to pool: `pooling` over all sources, over all but `without` (and `view`), or over the member `only`."""

    pooling: str
    without: str | None = None
    view: str | None = None  # of `without`; None: all its views
    only: str | None = None

    @property
    def name(self) -> str:
        """The recipe's name, as `ensemble.recipe` takes it."""
        if self.only is not None:
            return f"{ONLY}{self.only}"
        if self.without is None:
            return self.pooling
        return f"{self.pooling}{WITHOUT}{self.without}" + (f"/{self.view}" if self.view is not None else "")


def plain_pool(pooling: str) -> str:
    """The pool of a recipe that leaves something out: `pooling`, or the mean where `pooling` weighs sources itself."""
    return "mean" if pooling in LEARNING else pooling


def main_view(views: Sequence[str]) -> str:
    """The view of a member that no candidate leaves out alone: the original, or the first."""
    return ORIGINAL if ORIGINAL in views else views[0]


def every_recipe(pooling: str, views: Mapping[str, Sequence[str]]) -> tuple[Recipe, ...]:
    """All recipes for the members with these views: the default, which uses `pooling`, and then from simple to complex.

    Of two members, leaving one out is keeping the other; that is offered as `only`.
    """
    plain = plain_pool(pooling)
    found = [Recipe(pooling), *(Recipe(name) for name in POOL_NAMES if name not in LEARNING)]
    for member, names in views.items():
        found += [Recipe(plain, member, view) for view in names if view != main_view(names)]
    if len(views) > 2:
        found += [Recipe(plain, member) for member in views]
    if len(views) > 1:
        found += [Recipe(plain, only=member) for member in views]
    found += [Recipe(name) for name in LEARNING]
    return tuple(dict.fromkeys(found))


def named_recipe(name: str, pooling: str) -> Recipe | None:
    """The recipe called `name`; None if no recipe has a name of this form. Members and views are not looked up."""
    if name == "default":
        return Recipe(pooling)
    if name.startswith(ONLY) and name.removeprefix(ONLY):
        return Recipe(plain_pool(pooling), only=name.removeprefix(ONLY))
    pool, without, left_out = name.partition(WITHOUT)
    if pool not in POOL_NAMES:
        return None
    if not without:
        return Recipe(pool)
    member, slash, view = left_out.partition("/")
    if not member or (slash and not view):
        return None
    return Recipe(pool, member, view if slash else None)


def recipe_problems(name: str, views: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What is wrong with `ensemble.recipe: name` for the members with these views, with the nearest known name."""
    recipe = named_recipe(name, "mean")
    if name == "auto":
        return
    if recipe is None:
        known = [*SPECIAL, *(one.name for one in every_recipe("mean", views))]
        yield f"{name!r} is unknown; {did_you_mean(name, known)}"
        return
    member = recipe.only if recipe.only is not None else recipe.without
    if member is None:
        return
    if member not in views:
        yield f"{name!r} names no member; {did_you_mean(member, views)}"
    elif recipe.view is not None and recipe.view not in views[member]:
        yield f"{name!r} names no view of member {member!r}; {did_you_mean(recipe.view, views[member])}"
    elif len(views) == 1 and recipe.without is not None and (recipe.view is None or len(views[member]) == 1):
        yield f"{name!r} leaves nothing to pool. Use default."


def check_recipe_name(where: str, name: str, views: Mapping[str, Sequence[str]]) -> None:
    """Raise UserError unless `name` is auto, default or a recipe for the members with these views."""
    for problem in recipe_problems(name, views):
        raise UserError(f"{where}: {problem}")
