"""The plan of a whole run: the jobs of all members, their hours on some number of cards, and what would shorten them.

Hours are estimates. A job's arithmetic takes the time that products of its size take at a share of the card's speed
(training_plan.EFFICIENCY, which is measured); on top come the seconds until a base is loaded, and reading images.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.parts import fold_of, seed_of
from vqaflow.config.members import TUNED, Member
from vqaflow.config.sections import ModelConfig, TrainConfig, ViewConfig, section
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.model.families.known import family_of
from vqaflow.plan.cards import Card
from vqaflow.plan.footprint import GIB, NF4_BYTES, Footprint
from vqaflow.plan.offline import guessed_tokens, is_quantized
from vqaflow.plan.shape import Shape
from vqaflow.plan.training_plan import EFFICIENCY, TEXT_TOKENS, USUAL_CHOICES, Plan, plan_of
from vqaflow.reporting.terminal_table import table_lines

NOT_IN_DIGESTS = True  # a plan is not a result
# Seconds until a job computes: imports, and reading the base; measured on a 7B's shape of 15 GiB: 45 s.
START_SECONDS, SECONDS_PER_GIB = 15.0, 2.0
# Of a token that a view reads: starting the kernels of one of the library's layers; measured on an H200: 2.2 to 3.0 ms.
STEP_SECONDS_PER_LAYER = 2.2e-3
IMAGES_PER_SECOND = 35.0  # that two readers decode and resize, of one megapixel; measured
CARD_COUNTS = (1, 2, 4)
BATCHES = (1, 2, 4, 8, 16)
NAMED, WORTH = 3, 0.05  # how many changes are named, and what share of the hours they must save
FLOAT32, FLOAT16 = 4, 2


@dataclass(frozen=True)
class Data:
    """What a run answers: numbers of training and test rows, folds, choices, and (width, height) of images."""

    train_rows: int
    test_rows: int
    folds: int
    sizes: Sequence[tuple[int, int]]
    choices: int = USUAL_CHOICES


@dataclass(frozen=True)
class Speed:
    """The card that is planned for: GiB, operations per second of its products, and bytes per second of its memory."""

    gib: float
    operations: float
    bandwidth: float = 300e9

    @classmethod
    def of(cls, card: Card, vram: float | None = None, tflops: float | None = None) -> "Speed":
        """That of a card, with other memory or another speed of products."""
        return cls(vram or card.gib, (tflops or card.tflops) * 1e12, card.gbps * 1e9)


@dataclass(frozen=True)
class Job:
    """A job of one member that needs a GPU, or several `cards`; it starts after all jobs called `after`."""

    member: str
    stage: str
    name: str
    seconds: float
    after: tuple[str, ...] = ()
    cards: int = 1


def jobs_of_run(members: Sequence[Member], shapes: Mapping[str, Shape], data: Data, speed: Speed) -> list[Job]:
    """The jobs of all `members`; a pupil's trainings wait until its teacher's answers are pooled."""
    named = {member.name: member for member in members}
    jobs: list[Job] = []
    for member in members:
        teacher = named.get(member.train.get("teacher") or "") if member.kind == TUNED else None
        taught = pooled_scorings(teacher, data.folds) if teacher else ()
        for job in jobs_of(member, shapes[member.name], data, speed):
            jobs.append(replace(job, after=job.after + taught) if job.stage == "train" else job)
    return jobs


def pooled_scorings(member: Member, folds: int) -> tuple[str, ...]:
    """The scorings that pool_member waits for: those of both splits, as it writes what they say together."""
    return tuple(
        scoring(member, part, split, view)
        for split in ("oof", "test")
        for part in member.parts(split, folds)
        for view in member.pooled_views
    )


def scoring(member: Member, part: str, split: str, view: str) -> str:
    """The name of a scoring."""
    return f"{member.name} {part} {split} {view}"


def waited_for(member: Member, part: str, split: str, view: str) -> tuple[str, ...]:
    """What a scoring waits for: its adapter, and the main view's scores if only rows that these leave close count."""
    adapter = (f"{member.name} {part}",) if member.kind == TUNED else ()
    return (*adapter, scoring(member, part, split, member.main_view)) if member.rendering(view).get("when") else adapter


def folds_before(member: Member, part: str, folds: int) -> tuple[str, ...]:
    """The trainings that one on all rows waits for: those of its seed, whose logs say how long it trains."""
    if fold_of(part) is not None:
        return ()
    return tuple(f"{member.name} {other}" for other in member.parts("oof", folds) if seed_of(other) == seed_of(part))


def jobs_of(member: Member, shape: Shape, data: Data, speed: Speed) -> list[Job]:
    """All trainings and scorings of a member."""
    jobs: list[Job] = []
    loading = START_SECONDS + SECONDS_PER_GIB * base_gib(member, shape, speed)
    first = next(iter(member.trained_parts(data.folds)), None)
    for part in member.trained_parts(data.folds):
        rows = data.train_rows if part.startswith("all") else round(data.train_rows * (1 - 1 / data.folds))
        seconds = loading + training_seconds(member, shape, data, speed, rows)
        if part == first:
            seconds += reading_seconds(member, member.main_view, shape, data, speed, data.train_rows)
        after, cards = folds_before(member, part, data.folds), member.train["devices"]
        jobs.append(Job(member.name, "train", f"{member.name} {part}", seconds, after, cards))
    for split in ("oof", "test"):
        for part in member.parts(split, data.folds):
            fold_share = 1 / data.folds if member.kind == TUNED else 1.0
            rows = data.test_rows if split == "test" else round(data.train_rows * fold_share)
            for view in member.scored_views(split):
                seconds = loading + scoring_seconds(member, view, shape, data, speed, rows)
                if is_read_here(member, split, part, view, data.folds):
                    seconds += reading_seconds(member, view, shape, data, speed, rows)
                after = waited_for(member, part, split, view)
                name = scoring(member, part, split, view)
                jobs.append(Job(member.name, "score", name, seconds, after, member.devices))
    return jobs


def base_gib(member: Member, shape: Shape, speed: Speed) -> float:
    """GiB of the base's weights as they are read."""
    model = section(ModelConfig, member.model)
    return shape.weights * (NF4_BYTES if is_quantized(model, shape, speed.gib) else FLOAT16) / GIB


def training_plan(member: Member, shape: Shape, data: Data, speed: Speed, rows: int) -> Plan:
    """The memory and time of an adapter's steps."""
    model, train = section(ModelConfig, member.model), section(TrainConfig, member.train)
    view = section(ViewConfig, member.rendering(member.main_view))
    tokens = guessed_tokens(data.sizes, model, train.choice_orders, shape, data.choices, view)
    quantized = is_quantized(model, shape, speed.gib)
    fp8 = model.quantization == "fp8"
    return plan_of(shape, train, tokens, rows, torch.float16, quantized, speed.gib, speed.operations, fp8)


def fits(member: Member, shape: Shape, data: Data, speed: Speed) -> bool:
    """Whether the member's trainings fit on the card; untuned ones have none."""
    return member.kind != TUNED or training_plan(member, shape, data, speed, data.train_rows).fits


def training_seconds(member: Member, shape: Shape, data: Data, speed: Speed, rows: int) -> float:
    """Seconds of an adapter's steps, its measurements on held-out rows, and reading its images."""
    plan, train = training_plan(member, shape, data, speed, rows), section(TrainConfig, member.train)
    held_out = data.train_rows - rows
    measured = train.epochs / train.validate_every * held_out * 2 * shape.products * plan.tokens.mean / train.devices
    return plan.seconds + measured / (EFFICIENCY * speed.operations) + (rows + held_out) / IMAGES_PER_SECOND


def scoring_seconds(member: Member, view: str, shape: Shape, data: Data, speed: Speed, rows: int) -> float:
    """Seconds of a view's scores of `rows`: one pass of the decoder per row, of the tower and the reader per image."""
    settings, model = member.rendering(view), section(ModelConfig, member.model)
    orders = len(orders_shown(member, data.choices))
    tokens = guessed_tokens(data.sizes, model, orders, shape, data.choices, section(ViewConfig, settings))
    passes = orders if family_of(shape.kind).prefix == "separate" else 1
    tower = 2 * shape.tower_weights * shape.merge**2 * tokens.visual * passes
    decoder = 2 * shape.products * tokens.mean
    computing = (decoder + tower) / (EFFICIENCY * speed.operations)
    shown = gated_share(settings) * rows
    return shown * max(computing, 1 / IMAGES_PER_SECOND)


def is_read_here(member: Member, split: str, part: str, view: str, folds: int) -> bool:
    """Whether a scoring is the first that reads its rows: a row is read once, those of training's view by training."""
    parts = member.parts(split, folds)
    if split == "test":
        return part == parts[0]
    is_first = part == next(other for other in parts if fold_of(other) == fold_of(part))  # of several seeds
    return is_first and not (member.kind == TUNED and view == member.main_view)


def reading_seconds(member: Member, view: str, shape: Shape, data: Data, speed: Speed, rows: int) -> float:
    """Seconds until the base has written down the text in `rows` images, if the view reads: as much as it may.

    A step of the decoder makes one token of one row: it takes as long as reading all weights from memory, or as
    starting its kernels.
    """
    settings, model = member.rendering(view), section(ModelConfig, member.model)
    shown = section(ViewConfig, settings)
    if not shown.read:
        return 0.0
    visual = guessed_tokens(data.sizes, model, 1, shape, data.choices, shown).visual
    prompt = 2 * (shape.products * (visual + TEXT_TOKENS) + shape.tower_weights * shape.merge**2 * visual)
    step = max(base_gib(member, shape, speed) * GIB / speed.bandwidth, STEP_SECONDS_PER_LAYER * len(shape.layers))
    return gated_share(settings) * rows * (prompt / (EFFICIENCY * speed.operations) + shown.read_tokens * step)


def orders_shown(member: Member, choices: int) -> Sequence[str]:
    """The choice orders in which a member is scored."""
    return scoring_orders(member.orders, ALL_LETTERS[:choices])


def gated_share(view: Mapping[str, Any]) -> float:
    """The share of rows that a view is scored on: about a third, if only unsure rows are."""
    return 1 / 3 if view.get("when") else 1.0


def makespan(jobs: Sequence[Job], cards: int) -> float:
    """Seconds until all `jobs` are done on so many cards, each of which takes the longest job that can start.

    A job waits only for those among `jobs`.
    """
    free, named = [0.0] * cards, {job.name for job in jobs}
    done: dict[str, float] = {}
    waiting = sorted(jobs, key=lambda job: -job.seconds)
    while waiting:
        now = heapq.heappop(free)
        ready = [
            job for job in waiting if all(done.get(name, float("inf")) <= now for name in job.after if name in named)
        ]
        if not ready:
            heapq.heappush(free, min(end for end in done.values() if end > now))
            continue
        job = ready[0]
        waiting.remove(job)
        begin = max(
            [now, *(heapq.heappop(free) for _ in range(job.cards - 1))]
        )  # a job gathers the cards that it needs
        done[job.name] = begin + job.seconds
        for _ in range(job.cards):
            heapq.heappush(free, done[job.name])
    return max(done.values(), default=0.0)


def hours_lines(jobs: Sequence[Job], limit_hours: float | None) -> Iterator[str]:
    """A table of the jobs' hours by member and stage, the whole by number of cards, and whether a session holds it."""
    kinds = sorted({(job.member, job.stage) for job in jobs}, key=lambda kind: (kind[0], kind[1] != "train"))
    rows = []
    for member, stage in kinds:
        alike = [job.seconds for job in jobs if (job.member, job.stage) == (member, stage)]
        rows.append([member, stage, str(len(alike)), hours(sum(alike)), hours(max(alike))])
    hidden = len({job.member for job in jobs}) == 1
    yield from table_lines(["member", "stage", "jobs", "hours", "longest"][hidden:], [row[hidden:] for row in rows])
    least = max((job.cards for job in jobs), default=1)
    spans = {count: makespan(jobs, count) for count in sorted({*CARD_COUNTS, least}) if count >= least}
    told = ", ".join(f"{count} card{'s' * (count > 1)} {hours(span)} h" for count, span in spans.items())
    yield f"the whole run: {told}"
    if limit_hours:
        for count, span in spans.items():
            sessions = -(-span // (3600 * limit_hours))
            if count <= max(2, least):
                fits = "fits into" if sessions <= 1 else f"takes {sessions:.0f} sessions of"
                yield f"with {count} card{'s' * (count > 1)} it {fits} {limit_hours:g} hours"


def hours(seconds: float) -> str:
    """Hours, with a digit that means something."""
    return f"{seconds / 3600:.1f}" if seconds >= 360 else f"{seconds / 3600:.2f}"


def in_place_of(shorter: float, whole: float) -> str:
    """Two numbers of seconds that differ, in the largest unit in which one sees it."""
    if hours(shorter) != hours(whole):
        return f"{hours(shorter)} h in place of {hours(whole)}"
    if f"{shorter / 60:.0f}" != f"{whole / 60:.0f}":
        return f"{shorter / 60:.0f} minutes in place of {whole / 60:.0f}"
    return f"{shorter:.0f} seconds in place of {whole:.0f}"


@dataclass(frozen=True)
class Change:
    """Something that shortens a run: the settings, and what they cost."""

    keys: str
    price: str
    member: Member


def changes_of(member: Member, choices: int = USUAL_CHOICES) -> Iterator[Change]:
    """Changes of a member that shorten the run, those that cost least first; of one price, alternatives."""
    train, model = dict(member.train), dict(member.model)
    if member.kind == TUNED:
        batch = train["batch_size"] * train["accumulation"]
        for size in (size for size in BATCHES if size >= train["batch_size"] and batch % size == 0):
            sizes = {"gradient_checkpointing": "auto", "batch_size": size, "accumulation": batch // size}
            told = ", ".join(f"{key}: {value}" for key, value in sizes.items() if train[key] != value)
            if told and train["gradient_checkpointing"] is not False:
                yield Change(f"train: {{{told}}}", "the same steps", with_train(member, train | sizes))
        if train["cache_vision"] == "off":
            cached = train | {"cache_vision": "disk"}
            yield Change("train: {cache_vision: disk}", "disk", with_train(member, cached))
    for name in member.shown_views:
        if name != member.main_view:
            fewer = {**member.views, name: {**member.views[name], "enabled": False}}
            yield Change(
                f"views: {{{name}: {{enabled: false}}}}", "one view fewer in the average", replace(member, views=fewer)
            )
    if member.kind == TUNED and train["epochs"] > 1:
        once = train | {"epochs": 1}
        yield Change("train: {epochs: 1}", "may learn too little: look at the curves", with_train(member, once))
    if member.kind == TUNED and train["choice_orders"] > 1:
        one = train | {"choice_orders": 1}
        yield Change("train: {choice_orders: 1}", "learns fewer choice orders", with_train(member, one))
    if len(orders_shown(member, choices)) > 2:
        yield Change("orders: 2", "noisier answers", replace(member, orders=2))
    half = max(model["min_pixels"], model["max_pixels"] // 2)
    if half < model["max_pixels"]:
        smaller = replace(member, model=model | {"max_pixels": half})
        yield Change(f"model: {{max_pixels: {half}}}", "small text is read less well", smaller)


def with_train(member: Member, train: Mapping[str, Any]) -> Member:
    """The member with another section `train`."""
    return replace(member, train=train)


def shorter_lines(members: Sequence[Member], shapes: Mapping[str, Shape], data: Data, speed: Speed) -> Iterator[str]:
    """The three changes that cost least, of those that save something, with the hours that the run then takes."""
    jobs = {m.name: jobs_of(m, shapes[m.name], data, speed) for m in members}
    whole = sum(job.seconds for own in jobs.values() for job in own)
    best: dict[tuple[str, str], tuple[float, Change]] = {}
    for member in members:
        for change in changes_of(member, data.choices):
            if not fits(change.member, shapes[member.name], data, speed):
                continue
            own = sum(job.seconds for job in jobs_of(change.member, shapes[member.name], data, speed))
            saved = sum(job.seconds for job in jobs[member.name]) - own
            if saved >= max(WORTH * whole, best.get((member.name, change.price), (0.0, change))[0]):
                best[member.name, change.price] = saved, change
    if best:
        yield "what would shorten it, the cheapest first (card hours, each alone):"
    for saved, change in list(best.values())[:NAMED]:
        where = "" if len(members) == 1 else f"{change.member.name}: "
        yield f"  {where}{change.keys}: {in_place_of(whole - saved, whole)} ({change.price})"


def disk_gb(members: Sequence[Member], shapes: Mapping[str, Shape], data: Data, speed: Speed) -> dict[str, float]:
    """Gigabytes that a run writes: adapters, quantised bases, and features that trainings keep on disk."""
    parts = {"adapters": 0.0, "quantised bases": 0.0, "image features": 0.0}
    for member in members:
        shape, model = shapes[member.name], section(ModelConfig, member.model)
        if is_quantized(model, shape, speed.gib):
            parts["quantised bases"] += shape.weights * NF4_BYTES / 1e9
        if member.kind != TUNED:
            continue
        train = section(TrainConfig, member.train)
        weights = Footprint(shape, 1, train.lora.r, train.lora.targets).adapter_weights
        parts["adapters"] += weights * FLOAT32 * len(member.trained_parts(data.folds)) / 1e9
        if train.cache_vision == "disk":
            view = section(ViewConfig, member.rendering(member.main_view))
            visual = guessed_tokens(data.sizes, model, 1, shape, data.choices, view).visual
            per_image = visual * shape.hidden * FLOAT16 * (1 + shape.levels)
            parts["image features"] += per_image * data.train_rows / 1e9
    return parts
