"""The plans of all members: what each takes on one card, which fit on which card, and the hours of the whole run."""

import argparse
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.results_folder import RESULTS, ResultsFolder
from vqaflow.config.members import TUNED, Member, members_of, with_model
from vqaflow.config.sections import ColumnsConfig, ModelConfig, section
from vqaflow.model.families.known import family_of
from vqaflow.plan.evening import Data, Speed, disk_gb, hours_lines, jobs_of_run, shorter_lines
from vqaflow.plan.footprint import FP8_BYTES, GIB, NF4_BYTES, usable_gib
from vqaflow.plan.offline import is_quantized, offline_plan, print_plan, require_dtype, shape_of
from vqaflow.plan.plan_text import CARDS, MATRIX_BATCHES, WITHOUT_BFLOAT16, WITHOUT_FP8
from vqaflow.plan.rows import PlanRows, csv_images, plan_rows
from vqaflow.plan.shape import Shape
from vqaflow.reporting.terminal_table import table_lines
from vqaflow.runtime.errors import UserError

SCORING_GIB = 1.0  # beside the weights: one pass of few rows


def print_plans(config: Mapping[str, Any], settings: argparse.Namespace) -> None:
    """Print the plan of each member for the command's options. Raises UserError if one does not fit on the card."""
    members = with_model(members_of(config))
    if not members:
        raise UserError("members: none loads a model, so there is nothing to plan. Add one, or run the workflow.")
    if settings.shape and len({member.model["base"] for member in members}) > 1:
        raise UserError("--shape: the members have different bases. Plan them one by one, the others set to null.")
    basis = plan_rows(config, settings.table, settings.rows is not None, settings.results)
    problems = []
    for member in members:
        if len(members) > 1:
            print(f"{member.name}:")
        problem = print_member(config, member, settings, basis)
        if problem:
            problems.append(problem if len(members) == 1 else f"{member.name}: {problem}")
        if len(members) > 1:
            print()
    if len(members) > 1:
        print(*fitting_lines(config, members, settings, basis), sep="\n")
    print("", *run_lines(config, members, settings, basis), sep="\n")
    if problems:
        raise UserError("\n        ".join(problems))


def run_lines(config: Mapping[str, Any], members: list[Member], settings: Namespace, basis: PlanRows) -> Iterator[str]:
    """The hours of the whole run, what it writes, and what would shorten it."""
    shapes = {m.name: shape_of(section(ModelConfig, m.model), settings.shape)[0] for m in members}
    data, source = planned_data(config, basis, settings.rows, settings.results)
    speed = Speed.of(settings.like, settings.vram, settings.tflops)
    jobs = jobs_of_run(members, shapes, data, speed)
    yield settings.told
    yield f"test rows: {data.test_rows}{source}"
    yield from hours_lines(jobs, settings.session)
    sizes = disk_gb(members, shapes, data, speed)
    told = ", ".join(f"{name} {size:.1f} GB" for name, size in sizes.items() if size > 0.05)
    yield f"disk: {told or 'less than 0.1 GB'}"
    yield from shorter_lines(members, shapes, data, speed)


def planned_data(
    config: Mapping[str, Any], basis: PlanRows, rows_per_fold: int | None = None, results: ResultsFolder = RESULTS
) -> tuple[Data, str]:
    """What the run answers, and the source of the number of test rows; `rows_per_fold`: instead of the table's."""
    folds = config["folds"]["n"]
    rows = round(rows_per_fold / (1 - 1 / folds)) if rows_per_fold else basis.rows
    tests, source = test_rows(config, rows, results.demo)
    return Data(rows, tests, folds, basis.sizes, len(config["data"]["columns"]["choices"])), source


def test_rows(config: Mapping[str, Any], rows: int, demo: Path) -> tuple[int, str]:
    """The number of test rows and, if it is not counted, its source. What `demo` lacks is still to be made."""
    file = Path(config["data"]["test_csv"])
    if file.is_file():
        columns = section(ColumnsConfig, config["data"]["columns"])
        return len(csv_images(file, columns, encoding=config["data"]["encoding"])), ""
    if file.is_relative_to(demo):
        return config["data"]["demo"]["test_rows"], " (data.demo.test_rows)"
    return rows, f" (assumed to be as many as training rows: there is no file {file})"


def own_config(config: Mapping[str, Any], member: Member) -> dict[str, Any]:
    """The configuration with the member's own sections."""
    return {**config, "model": member.model, "train": member.train, "views": member.views}


def print_member(config: Mapping[str, Any], member: Member, settings: Namespace, basis: PlanRows) -> str | None:
    """Print the plan of a member. Returns what to change if it does not fit."""
    if member.kind != TUNED:
        return print_untuned(member, settings)
    count = len(member.trained_parts(config["folds"]["n"]))
    problem = print_plan(own_config(config, member), settings, basis)
    if member.seeds or member.refit:
        print(f"{count} adapters, each of this size")
    return problem


def print_untuned(member: Member, settings: Namespace) -> str | None:
    """Print what an untuned base takes, which is only scored. Returns what to change if it does not fit."""
    shape, source = shape_of(section(ModelConfig, member.model), settings.shape)
    require_dtype(member.model["compute_dtype"], shape, member.model["quantization"])
    need, fits = scoring_gib(member, shape, settings.vram), scores_on(member, shape, settings.vram)
    print(f"base: {member.model['base']}, sizes from {source}")
    verdict = "fits" if fits else "does NOT fit"
    print(f"no training; scoring needs about {need:.1f} GiB of {settings.vram:.1f} GiB: {verdict}")
    return None if fits else "model.base: its weights do not fit. Set model.quantization to nf4, or use a smaller base."


def scoring_gib(member: Member, shape: Shape, vram_gib: float) -> float:
    """About what scoring takes: the weights, and a pass of few rows."""
    model = section(ModelConfig, member.model)
    if model.quantization == "fp8":  # the other weights stay in 16 bits
        return (shape.linear_weights * FP8_BYTES + 2 * (shape.weights - shape.linear_weights)) / GIB + SCORING_GIB
    return shape.weights * (NF4_BYTES if is_quantized(model, shape, vram_gib) else 2) / GIB + SCORING_GIB


def scores_on(member: Member, shape: Shape, vram_gib: float) -> bool:
    """Whether a base can be scored on a card of `vram_gib`."""
    return scoring_gib(member, shape, vram_gib) <= usable_gib(vram_gib)


def fitting_lines(
    config: Mapping[str, Any], members: list[Member], settings: Namespace, basis: PlanRows
) -> Iterator[str]:
    """A table of which members fit on which card."""
    rows = [[member.name, *(cell(config, member, card, settings, basis) for card in CARDS)] for member in members]
    yield from table_lines(["which fit where", *CARDS], rows)
    yield "a number: train.batch_size has to be lowered to it; NF4: as auto or as configured, the base is quantised"


def cell(config: Mapping[str, Any], member: Member, card: str, settings: Namespace, basis: PlanRows) -> str:
    """Whether a member fits on a card, and how."""
    model, vram = section(ModelConfig, member.model), CARDS[card]
    shape, _ = shape_of(model, settings.shape)
    if model.quantization == "fp8" and card in WITHOUT_FP8:
        return "no FP8"
    if card in WITHOUT_BFLOAT16 and family_of(shape.kind).float16 and model.compute_dtype != "float32":
        return "no bfloat16"
    how = " (NF4)" if is_quantized(model, shape, vram) else ""
    if member.kind != TUNED:
        return f"yes{how}" if scores_on(member, shape, vram) else "no"
    own = own_config(config, member)
    there = Namespace(**{**vars(settings), "vram": vram})
    wanted = own["train"]["batch_size"]
    for batch in [wanted, *(size for size in MATRIX_BATCHES if size < wanted)]:
        if offline_plan(own, there, basis, shape, batch).fits:
            return ("yes" if batch == wanted else str(batch)) + how
    return "no"
