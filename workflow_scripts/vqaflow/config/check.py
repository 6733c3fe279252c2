"""The check of the whole configuration before anything runs: all problems at once, each with its key and cure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from vqaflow.artifacts.parts import FILE, ORIGINAL
from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.config.choices_check import choices_problems
from vqaflow.config.data_check import data_problems
from vqaflow.config.members import SECTIONS, TUNED, member_problems, members_of, with_model
from vqaflow.config.prompt_check import prompt_problems
from vqaflow.config.recipe_names import recipe_problems
from vqaflow.config.schema_wording import refusals
from vqaflow.config.sections import NATIVE, WHEN, merged
from vqaflow.config.space_check import foldless, space_problems
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean
from vqaflow.runtime.secrets import secret_problems

# JSON Schema accepts 3.0 as an integer and NaN as a number; the workflow can use neither.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
        }
    ),
)


def load_schema(path: Path | str) -> dict[str, Any]:
    """Read the schema of config.yaml; a member's sections are those of the whole configuration, no key required."""
    schema = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    member = schema["properties"]["members"]["additionalProperties"]["properties"]
    member |= {key: _optional(member[key]) for key in ("model", "prompt", "train")}
    return schema


def _optional(schema: Any) -> Any:
    """A schema, with those inside it, that requires no key."""
    if isinstance(schema, Mapping):
        return {key: _optional(value) for key, value in schema.items() if key != "required"}
    return schema


def check_config(config: Mapping[str, Any], schema: Path | str) -> None:
    """Raise one UserError that lists all problems of `config`: unknown keys (with the nearest known), types, ranges."""
    config = _plain(config)
    known = load_schema(schema)
    problems = list(secret_problems(config))  # alone: another message could show the secret
    problems = problems or list(refusals(Validator(known).iter_errors(config), known))
    if not problems:
        problems = [*_cross_checks(config), *member_problems(config)]
        problems += space_problems(config["hpo"]["space"], config["train"], known["properties"]["train"])
        problems += foldless(config["hpo"], config["folds"]["n"])
    if problems:
        raise UserError("config: " + "\n        ".join(sorted(problems)))


def check_files(config: Mapping[str, Any], made: Path, more: Iterable[str] = ()) -> None:
    """Raise one UserError that lists the user's missing files, except those below `made`, which the workflow makes.

    `more` are problems that were found elsewhere, to be listed with them. Reads no file.
    """
    data, settings = config["data"], config["hardware"]["settings"]
    files = {f"data.{key}": data[key] for key in ("train_csv", "test_csv", "sample_submission")}
    folders = {f"data.{key}": data[key] for key in ("image_root", "test_image_root") if data.get(key)}
    for number, entry in enumerate(data["more_train"]):
        files[f"data.more_train.{number}.csv"] = entry["csv"]
        folders |= {f"data.more_train.{number}.image_root": entry["image_root"]} if "image_root" in entry else {}
    missing = [(key, "file", path) for key, path in files.items() if not Path(path).is_file()]
    missing += [(key, "folder", path) for key, path in folders.items() if not Path(path).is_dir()]
    if settings is not None and not Path(settings).is_file():
        missing.append(("hardware.settings", "file", settings))
    for name, member in config["members"].items():
        given = (member or {}).get("probabilities") or {}
        missing += [
            (f"members.{name}.probabilities.{split}", "file", path)
            for split, path in sorted(given.items())
            if not Path(path).is_file()
        ]
    problems = [
        f"{key}: there is no {kind} {path}. Correct the path, or put the {kind} there."
        for key, kind, path in missing
        if not Path(path).is_relative_to(made)
    ]
    problems += more
    if problems:
        raise UserError("config: " + "\n        ".join(problems))


def _plain(value: Any) -> Any:
    """Snakemake's ordered mappings as plain ones, keys as text (YAML allows others)."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _cross_checks(config: Mapping[str, Any]) -> Iterator[str]:
    """Checks of keys against each other, which the schema cannot express."""
    yield from data_problems(config["data"])
    yield from _demo_base_problems(config)
    yield from choices_problems(config)
    yield from _section_problems(config, "", config["ensemble"])
    for name, entry in config["members"].items():
        if entry and set(entry) & {*SECTIONS, "orders", "train"}:
            overridden = {key: merged(config[key], entry.get(key) or {}) for key in SECTIONS}
            train = entry.get("train")
            overridden["train"] = merged(config["train"], train if isinstance(train, Mapping) else {})
            own = overridden | {"orders": entry.get("orders", config["orders"])}
            found = _section_problems(own, f"members.{name}.", config["ensemble"])
            general = set(_section_problems(config, f"members.{name}.", config["ensemble"]))
            yield from (problem for problem in found if problem not in general)  # told of the sections themselves
    views = {name: member.pooled_views or [FILE] for name, member in members_of(config).items()}
    yield from (f"ensemble.recipe: {what}" for what in recipe_problems(config["ensemble"]["recipe"], views))
    for member in members_of(config).values():
        if member.kind == TUNED:
            own = "trackers" in ((config["members"][member.name] or {}).get("train") or {})
            yield from _tracker_problems(f"members.{member.name}.train" if own else "train", member.train["trackers"])


def _section_problems(sections: Mapping[str, Any], where: str, ensemble: Mapping[str, Any]) -> Iterator[str]:
    """Problems of the sections `model`, `prompt`, `views` and `orders`, which a member may override."""
    model = sections["model"]
    if model["min_pixels"] > model["max_pixels"]:
        above = f"{model['min_pixels']} is above model.max_pixels, {model['max_pixels']}"
        yield f"{where}model.min_pixels: {above}. Lower it."
    if model.get("devices", 1) > 1 and model["quantization"] == "auto":
        what = "auto chooses by the memory of one GPU, but model.devices asks for several"
        yield f"{where}model.quantization: {what}. Set it to none, fp8 or nf4."
    yield from prompt_problems(f"{where}prompt.", sections["prompt"])
    if ensemble["order_pooling"] == "prior" and sections["orders"] in ("identity", 1):
        cure = "Set orders to cyclic, or use geometric."
        yield f"{where}orders: a position prior cannot be estimated from one choice order. {cure}"
    main = sections["train"]["view"]
    yield from _main_view_problems(f"{where}train.view", f"{where}views", main, sections["views"])
    for name, view in sections["views"].items():
        yield from _view_problems(f"{where}views.{name}", name, view, model)


def _demo_base_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """A tiny base that would answer the user's own questions: it knows only the demo's images."""
    if config["model"].get("allow_demo_base") or Path(config["data"]["train_csv"]).is_relative_to(RESULTS.demo):
        return
    for member in with_model(members_of(config)):
        base, own = member.model["base"], config["members"][member.name].get("model") or {}
        if (
            not own.get("allow_demo_base")
            and Path(base).parent.name == "assets"
            and Path(base).name.startswith("tiny-")
        ):
            where = f"members.{member.name}.model.base" if "base" in own else "model.base"
            what = f"{base} knows only the demo's images, but data.train_csv is your own table"
            yield f"{where}: {what}. Name a real base (docs/models.md), or set model.allow_demo_base: true for a trial."
            return


def _tracker_problems(where: str, trackers: Sequence[str]) -> Iterator[str]:
    """Trackers whose package is missing; none where jobs run in another environment (no torch in this one)."""
    if not _is_installed("torch"):
        return
    for name in trackers:
        if not _is_installed(name):
            yield f"{where}.trackers: {name} is not installed here. Install it (pip install {name}), or leave it out."


def _is_installed(package: str) -> bool:
    """Whether the package can be imported, without importing it; a folder that only has its name has no origin."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def _main_view_problems(where: str, views_where: str, main: str, views: Mapping[str, Any]) -> Iterator[str]:
    """Problems of the view that training renders, which must have every row."""
    if main not in views:
        yield f"{where}: there is no view {main!r}; {did_you_mean(main, list(views))}"
    elif main != ORIGINAL and views[main].get("flip"):
        yield f"{where}: {main} mirrors, which can change the answer of training rows. Name a view that does not."
    elif main != ORIGINAL and views[main].get("blind"):
        yield f"{where}: {main} is blind, so nothing of the images would be learned. Name a view that shows them."
    elif views[main].get("enabled") is False:
        yield f"{views_where}.{main}: only this view has every row. Keep it enabled."
    if ORIGINAL not in views:
        yield f"{views_where}.{ORIGINAL}: the view is missing. Add it as {{}}."


def _view_problems(where: str, name: str, view: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    """Problems of one view."""
    given = {key for key, value in view.items() if value not in (None, False)} - {"enabled"}
    if name == ORIGINAL and set(view) - {"enabled"}:
        yield f"{where}: this view is the unchanged image. Put other settings into a view with another name."
    if view.get("when") is not None and not WHEN.fullmatch(view["when"]):
        yield f"{where}.when: {view['when']!r} is not a condition. Write, for example, margin < 0.3."
    if "blind" in given and (others := given & {"flip", "tiles", "pixels", "read", "min_pixels", "max_pixels"}):
        yield f"{where}.{min(others)}: a blind view shows no image, so this key has no meaning. Remove it."
    if "overlap" in view and "tiles" not in view:
        yield f"{where}.overlap: without tiles it has no meaning. Remove it, or set tiles."
    if "read_tokens" in view and "read" not in view:
        yield f"{where}.read_tokens: without read it has no meaning. Remove it, or set read: true."
    if "pixels" in given and "min_pixels" in given:
        yield f"{where}.min_pixels: pixels: {NATIVE} never enlarges. Remove one of them."
    if "pixels" in given and "max_pixels" not in given:
        cap = "a phone's photograph has 12 million pixels, 16,000 tokens. Add it, for example 3211264"
        yield f"{where}.max_pixels: pixels: {NATIVE} needs a cap: {cap}."
    smallest = 1 if "pixels" in given else view.get("min_pixels") or model["min_pixels"]
    largest = view.get("max_pixels") or model["max_pixels"]
    if smallest > largest and {"min_pixels", "max_pixels"} & view.keys():
        yield f"{where}: min_pixels {smallest} is above max_pixels {largest}. Change one of them."
