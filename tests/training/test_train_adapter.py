"""Training: resumable to the bit, independent of how steps are cut, and readable by plain PEFT."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Qwen2_5_VLForConditionalGeneration

import random_qwen
import rows
import training_world
from places import ROOT, SCRIPTS
from training_world import SMALL, job, make_world, run, training_arguments
from vqaflow.config.loading import load_config
from vqaflow.config.sections import TrainConfig, section
from vqaflow.model.base import Base
from vqaflow.model.stored_base import open_base
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import NotFinite, OutOfMemory, UserError
from vqaflow.runtime.stage import stage
from vqaflow.training import train_adapter as training
from vqaflow.training.answer_model import AnswerModel
from vqaflow.training.checkpoints import StopRequest
from vqaflow.training.loop import Trainer
from vqaflow.training.placement import place
from vqaflow.training.train_adapter import train_adapter

PATHS = ("table", "folds", "out", "work", "bases", "tracking")
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """One for the module."""
    return make_world(tmp_path_factory.mktemp("world"))


def run_alone(arguments: dict, log_file: Path) -> None:
    """What a process of its own does."""
    with stage(log_file):
        train_adapter(**training_arguments(**arguments))


@pytest.fixture(scope="module")
def processes():
    """Processes that start within milliseconds, the package imported already, and share nothing with this one."""
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, [SCRIPTS, Path(training_world.__file__).parent, ROOT]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    yield context
    os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)


@pytest.fixture(scope="module")
def uninterrupted(world: Path) -> Path:
    """The adapter of a run that nothing disturbed."""
    return run(job(world, "whole"))


KILLS = [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGKILL, 2), (signal.SIGTERM, 3), (signal.SIGINT, 4)]


@pytest.mark.parametrize(("kind", "seed"), KILLS)
def test_killed_and_resumed_is_bit_identical(world: Path, uninterrupted: Path, processes, kind, seed: int) -> None:
    """Whatever step it dies at, a run that is called again ends with the same bytes."""
    arguments, rng = job(world, f"killed{seed}"), random.Random(seed)
    checkpoint, log_file = arguments["work"] / "checkpoint.pt", world / f"killed{seed}.log"
    deaths = 0
    for _ in range(2):
        process = processes.Process(target=run_alone, args=(arguments, log_file))
        process.start()
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.is_alive() and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.15)
        if process.is_alive():
            os.kill(process.pid, kind)
        process.join(60)
        deaths += process.exitcode in (-kind, 128 + kind)
    assert deaths > 0, "no run was interrupted, so nothing was tested"
    final = processes.Process(target=run_alone, args=(arguments, log_file))
    final.start()
    final.join(120)
    assert final.exitcode == 0, log_file.read_text(encoding="utf-8")
    assert "resuming from step" in log_file.read_text(encoding="utf-8")
    assert file_digest(arguments["out"] / WEIGHTS) == file_digest(uninterrupted / WEIGHTS)
    assert not arguments["work"].exists(), "a finished run leaves no checkpoint behind"


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_time_limit_stops_at_a_checkpoint_and_the_next_run_goes_on(world: Path, uninterrupted: Path, dropout) -> None:
    """Notebooks with a limit of hours train one adapter in several sessions, to the same bytes, dropout's lot too."""
    settings = {"lora": job(world, "limited")["train"]["lora"] | {"dropout": dropout}}
    whole = run(job(world, "dropout", **settings)) if dropout else uninterrupted
    arguments, stops = job(world, f"limited{dropout}", max_minutes=1e-9, **settings), 0
    while not arguments["out"].exists():
        try:
            run(arguments)
        except UserError as error:
            assert "run the same command again" in str(error)
            stops += 1
            if stops == 3:  # and the limit may be changed meanwhile
                arguments = job(world, f"limited{dropout}", **settings)
    assert stops == 3
    assert file_digest(arguments["out"] / WEIGHTS) == file_digest(whole / WEIGHTS)


def half(path: Path, file: Path) -> None:
    """Write the first half of `file` to `path`."""
    content = file.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(("name", "rule"), [("table", "validate_tables"), ("folds", "make_folds")])
def test_inputs_that_are_missing_or_damaged_are_told_with_their_rule(world: Path, tmp_path: Path, name, rule) -> None:
    """Who runs the stage by hand would get a traceback of pandas, and not learn what to run before."""
    arguments = job(world, "inputs")
    given = tmp_path / "given.parquet"
    with pytest.raises(UserError, match=rf"given\.parquet: is missing\. Run the rule {rule}\."):
        run(arguments | {name: given})
    half(given, arguments[name])
    with pytest.raises(UserError, match=rf"given\.parquet: is damaged.* run the rule {rule} again"):
        run(arguments | {name: given})


@pytest.mark.parametrize("content", [None, "", "parameters:\n", "- parameters", "parameters: {r: [", "accuracy: 1\n"])
def test_a_search_without_parameters_is_told_with_its_rule(world: Path, tmp_path: Path, content: str | None) -> None:
    """A mistyped --best, or a file cut short, must neither end in a traceback nor train with the defaults."""
    best = tmp_path / "best.yaml"
    if content is not None:
        best.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"best\.yaml: is .*rule search_hyperparameters"):
        run(job(world, "inputs") | {"best": best})


def test_loading_counts_in_the_time_limit(world: Path, monkeypatch) -> None:
    """The 7B loads for minutes: a notebook would end before the checkpoint that the limit promised."""
    passed = 0.0
    monkeypatch.setattr(training.time, "monotonic", lambda: passed)

    def slow(*arguments: object) -> Base:
        nonlocal passed
        passed += 61
        return open_base(*arguments)

    monkeypatch.setattr(training, "open_base", slow)
    with pytest.raises(UserError, match=r"train\.max_minutes: 1 minutes are over at step 1 of 3\."):
        run(job(world, "slow", epochs=1, max_minutes=1))
    assert not (world / "slow" / "adapter").exists() and (world / "slow/work/train/fold0/checkpoint.pt").is_file()


def assert_same_training(folder: Path, other: Path) -> None:
    """The weights agree to rounding."""
    ours = load_file(folder / WEIGHTS)
    for name, weight in load_file(other / WEIGHTS).items():
        torch.testing.assert_close(ours[name], weight, atol=5e-4, rtol=1e-2)


def test_steps_do_not_depend_on_how_they_are_cut(world: Path, uninterrupted: Path) -> None:
    """Half the batch with twice the accumulation is the same optimisation, the odd last batch included."""
    assert_same_training(run(job(world, "halved", batch_size=2, accumulation=4)), uninterrupted)


def test_too_little_memory_halves_the_passes_and_says_so(world: Path, uninterrupted: Path, monkeypatch, caplog) -> None:
    """The job goes on as the same optimisation instead of dying."""
    states = AnswerModel.states

    def tight(self: AnswerModel, part: list, orders: list) -> torch.Tensor:
        if torch.is_grad_enabled() and (len(part) > 1 or any(mlp.keep for _, mlp in self.fused.layers)):
            raise torch.OutOfMemoryError("simulated")
        return states(self, part, orders)

    monkeypatch.setattr(AnswerModel, "states", tight)
    with caplog.at_level("WARNING", "vqaflow"):
        monkeypatch.setattr("vqaflow.runtime.stage.log.propagate", True)
        folder = run(job(world, "tight"))
    assert_same_training(folder, uninterrupted)
    assert "nothing is kept for the backward pass" in caplog.text
    assert "4 passes of 2 rows" in caplog.text and "8 passes of 1 rows" in caplog.text
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["rows_a_pass"] == 1


def validations(monkeypatch, act) -> list[int]:
    """Have `act` called with the rows of each validation pass before it; their numbers are in the list that returns."""
    states, sizes = AnswerModel.states, []

    def watched(self: AnswerModel, part: list, orders: list) -> torch.Tensor:
        if not torch.is_grad_enabled() and len(part) > 1:  # the label mass is measured one row a pass
            sizes.append(len(part))
            act(part)
        return states(self, part, orders)

    monkeypatch.setattr(AnswerModel, "states", watched)
    return sizes


def test_a_validation_takes_no_more_memory_than_a_step(world: Path, uninterrupted: Path, monkeypatch) -> None:
    """It would end a training that the plan calls fitting; and what still does not fit is cut, to the same accuracy."""

    def tight(part: list) -> None:
        if len(part) > 3:
            raise torch.OutOfMemoryError("simulated")

    sizes = validations(monkeypatch, tight)
    folder = run(job(world, "tight validation"))
    assert max(sizes) == 2 * SMALL["batch_size"]
    assert (folder / "log.csv").read_bytes() == (uninterrupted / "log.csv").read_bytes()


def test_a_validation_that_is_not_finite_names_its_row(world: Path, monkeypatch) -> None:
    """An answer of NaN would count as an "a", choose the best weights, and be a trial's value."""
    states = AnswerModel.states

    def broken(self: AnswerModel, part: list, orders: list) -> torch.Tensor:
        made = states(self, part, orders)
        return made if torch.is_grad_enabled() else made * torch.nan

    monkeypatch.setattr(AnswerModel, "states", broken)
    with pytest.raises(NotFinite, match=r"row 'row_\d+'.* in the validation after step 3"):
        run(job(world, "not finite"))


def test_a_stop_does_not_wait_for_a_validation(world: Path, uninterrupted: Path, monkeypatch) -> None:
    """SLURM's half minute is shorter than a validation of the 7B: the last step must be saved before it."""

    def stop(part: list) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    arguments = job(world, "stopped")
    with monkeypatch.context() as patch:
        sizes = validations(patch, stop)
        with pytest.raises(SystemExit):
            run(arguments)
    assert len(sizes) == 1, "of three passes"
    assert file_digest(run(arguments) / WEIGHTS) == file_digest(uninterrupted / WEIGHTS)
    assert (Path(arguments["out"]) / "log.csv").read_bytes() == (uninterrupted / "log.csv").read_bytes()


def test_a_checkpoint_of_another_precision_is_not_gone_on_with(world: Path) -> None:
    """`auto` means float32 here and float16 on a GPU: half a training in each is none that anybody asked for."""
    network = random_qwen.model()
    bases = [Base(network, None, torch.device("cpu"), dtype, "none") for dtype in (torch.float32, torch.float16)]
    bases.append(replace(bases[1], quantization="nf4"))
    one = training.Job("key", "resumed", None, [], [], None)
    assert len({one.checkpoint_key(base) for base in bases}) == 3


def test_another_release_of_a_decisive_package_trains_anew(
    world: Path, uninterrupted: Path, tmp_path: Path, monkeypatch
) -> None:
    """Scoring refuses the old adapter and says to train it again, which must not give the same one back."""
    monkeypatch.setattr(training, "decisive_versions", lambda: {"transformers": "99.0"})
    monkeypatch.setattr(training.Job, "run", lambda self, out: pytest.fail("trained"))
    with pytest.raises(pytest.fail.Exception, match="trained"):
        run(job(world, "whole") | {"out": tmp_path / "adapter"})


def test_the_adapter_names_its_base_as_the_configuration_does(world: Path, monkeypatch) -> None:
    """Not by the folder of quantised weights that it was loaded from, which only this machine has."""

    def from_elsewhere(*arguments: object) -> Base:
        base = open_base(*arguments)
        base.model.name_or_path = "results/base/0123456789abcdef"
        return base

    monkeypatch.setattr(training, "open_base", from_elsewhere)
    arguments = job(world, "named", epochs=1)
    settings = json.loads((run(arguments) / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == arguments["model"]["base"]


def test_a_row_that_does_not_fit_alone_is_told_with_a_cure(world: Path, monkeypatch) -> None:
    """There is nothing left to halve."""

    def full(self: AnswerModel, part: list, orders: list) -> torch.Tensor:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(AnswerModel, "states", full)
    with pytest.raises(OutOfMemory, match=r"Lower model\.max_pixels"):
        run(job(world, "full"))


def adapter_weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The adapter's weights as they are now, by the names that they have in its file."""
    named = {name: weight for name, weight in trainer.base.model.named_parameters() if weight.requires_grad}
    return {name.replace(".default", ""): weight.detach().clone() for name, weight in named.items()}


def test_the_best_measured_weights_are_kept_and_training_stops_early(world: Path, monkeypatch) -> None:
    """The adapter is the one of the best validation accuracy, not the last one."""
    accuracies, weights = iter([0.5, 0.9, 0.1, 0.2, 0.3]), []

    def measured(self: Trainer, stop: StopRequest) -> float:
        weights.append(adapter_weights(self))
        return next(accuracies)

    monkeypatch.setattr(Trainer, "validation_accuracy", measured)
    folder = run(job(world, "early", early_stopping=2, validate_every=0.34))
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert told["best_val_accuracy"] == 0.9 and told["steps_done"] == 4 < told["plan"]["steps"]
    saved, best = load_file(folder / WEIGHTS), weights[1]
    assert saved.keys() == best.keys()
    assert all(torch.equal(saved[name], best[name]) for name in saved)


def test_of_equal_accuracies_the_first_is_kept(world: Path, monkeypatch) -> None:
    """Longer training without gain only fits the training rows closer, and early stopping counts it as none."""
    weights = []

    def measured(self: Trainer, stop: StopRequest) -> float:
        weights.append(adapter_weights(self))
        return 0.5

    monkeypatch.setattr(Trainer, "validation_accuracy", measured)
    folder = run(job(world, "equal", early_stopping=2))
    saved = load_file(folder / WEIGHTS)
    assert len(weights) == 3 and all(torch.equal(saved[name], weights[0][name]) for name in saved)


def test_the_plan_is_there_before_the_first_step(world: Path, monkeypatch) -> None:
    """Who made what, in which precision and how much memory, is on disk even if the first step fails."""

    def fail(self: Trainer, drawn: list) -> None:
        raise RuntimeError("the first step")

    monkeypatch.setattr(Trainer, "step", fail)
    arguments = job(world, "planned")
    with pytest.raises(RuntimeError, match="the first step"):
        run(arguments)
    told = json.loads((arguments["work"] / "run.json").read_text(encoding="utf-8"))
    assert told["dtype"] == "float32" and told["attention"] == "sdpa"
    assert told["linears"] == {"language_model": ["Linear"], "lm_head": ["Linear"], "visual": ["Linear"]}
    assert told["trainable"]["dtype"] == ["float32"] and "language_model" in told["trainable"]["pattern"]
    assert told["plan"]["tokens_a_row"]["largest"] >= told["plan"]["tokens_a_row"]["mean"] > 50
    assert told["plan"]["predicted_peak_gib"] > 0 and told["plan"]["steps"] == 9
    assert not arguments["out"].exists()


def test_plain_peft_loads_the_adapter_and_it_changes_the_logits(world: Path, uninterrupted: Path) -> None:
    """No code of ours is needed to use what was trained."""
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(world / "base", dtype=torch.float32)
    ids = torch.arange(20)[None]
    before = base(input_ids=ids).logits
    tuned = PeftModel.from_pretrained(base, uninterrupted)
    assert not torch.allclose(tuned(input_ids=ids).logits, before)
    assert {p.dtype for n, p in tuned.named_parameters() if "lora" in n} == {torch.float32}
    assert not any("visual" in n for n, _ in tuned.named_parameters() if "lora" in n), "the tower must stay as it is"


def test_an_adapter_that_changes_nothing_is_refused(world: Path) -> None:
    """A learning rate of nearly nothing must not pass for a training."""
    with pytest.raises(UserError, match="changes no logit"):
        run(job(world, "idle", learning_rate=1e-30, epochs=1))


def test_only_what_a_training_needs_is_on_the_gpu(monkeypatch) -> None:
    """On a T4 the 7B's head and embedding table (2.2 GB) are missed; a search's next trial may need the head again."""
    base = Base(random_qwen.model(), None, torch.device("cuda"), torch.float32, "none")
    config = section(TrainConfig, load_config(rows.ROOT / "config.yaml")["train"])
    where: dict[torch.nn.Module, str] = {}
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: where.update({module: str(device)}))
    modules = (base.language_model.embed_tokens, base.network.lm_head, base.visual)
    for objective, tower, there in (("choice", False, "cpu cpu cpu"), ("mixed", True, "cpu cuda cuda")):
        place(base, replace(config, objective=objective), tower)
        assert " ".join(where[module] for module in modules) == there


def test_run_json_says_what_made_the_adapter(world: Path, uninterrupted: Path) -> None:
    """Another machine can tell base, data, prompt, pixels, versions and settings apart."""
    told = json.loads((uninterrupted / "run.json").read_text(encoding="utf-8"))
    assert told["parity"]["max_pixels"] == 56 * 56
    assert set(told["versions"]) >= {"torch", "transformers", "peft", "python"}
    assert told["train"]["learning_rate"] == 0.01 and told["train"]["lora"]["r"] == 16
    assert told["rows"] == 20 and len(told["data"]) == len(told["held_out"]) == len(told["parity"]["base"]) == 64
    history = pd.read_csv(uninterrupted / "log.csv")
    assert history["step"].is_monotonic_increasing and history["val_accuracy"].between(0, 1).all()
    assert (uninterrupted / "curve.png").stat().st_size > 5000


def test_every_step_reaches_the_tracker(world: Path) -> None:
    """Curves are there while it trains, in a folder that no rerun deletes."""
    arguments = job(world, "tracked", trackers=["tensorboard"], epochs=1)
    run(arguments)
    events = EventAccumulator(str(arguments["tracking"])).Reload()
    assert sorted({event.step for event in events.Scalars("loss")}) == [1, 2, 3]
    assert events.Scalars("val_accuracy")


class Failing:
    """A tracker whose server is gone."""

    def __init__(self, when: str) -> None:
        self.when, self.calls = when, []

    def log(self, figures: dict, step: int) -> None:
        """Fail, or note the step."""
        self.calls.append(step)
        if self.when == "log":
            raise ConnectionError("no route to host")

    def close(self) -> None:
        """Fail, or note it."""
        self.calls.append("close")
        if self.when == "close":
            raise ConnectionError("no route to host")


def test_a_tracker_that_fails_does_not_end_the_training(world: Path, monkeypatch, caplog) -> None:
    """A wandb server that goes down, or a full disk under tracking, would cost hours on the GPU."""
    trackers = {when: Failing(when) for when in ("log", "close", "never")}
    monkeypatch.setattr(training, "require_installed", lambda names: None)
    monkeypatch.setattr(training, "start_trackers", lambda names, *rest: [trackers[name] for name in names])
    with caplog.at_level("WARNING", "vqaflow"):
        monkeypatch.setattr("vqaflow.runtime.stage.log.propagate", True)
        folder = run(job(world, "untracked", trackers=list(trackers), epochs=1))
    assert (folder / WEIGHTS).is_file()
    assert trackers["log"].calls == [1], "a tracker that failed is asked no more"
    assert trackers["close"].calls == trackers["never"].calls == [1, 2, 3, 3, "close"]
    records = {id(record): record for record in caplog.records}.values()  # twice where an earlier test cut propagation
    told = [record.getMessage() for record in records if "train.trackers" in record.getMessage()]
    assert len(told) == 2 and "log failed" in told[0] and "close failed" in told[1]


def test_going_back_to_an_earlier_configuration_trains_nothing(
    world: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """The store has the adapter of every configuration that was trained before, to the byte."""
    started = time.monotonic()
    again = run(job(world, "whole", max_minutes=500) | {"out": tmp_path / "adapter"})
    assert time.monotonic() - started < 5
    assert file_digest(again / WEIGHTS) == file_digest(uninterrupted / WEIGHTS)


def store_key(arguments: dict, monkeypatch) -> str:
    """What the store keeps the adapter of `arguments` under, and the checkpoints with it; nothing is trained."""
    keys: list[str] = []

    def note(store: Store, parts: dict, out: Path, compute: Callable) -> None:
        keys.extend([value_digest(parts), compute.__self__.key])

    with monkeypatch.context() as patch:
        patch.setattr(training, "cached", note)
        train_adapter(**training_arguments(**arguments))
    assert keys[0] == keys[1], "a checkpoint would be gone on with for another adapter than the store's"
    return keys[0]


@pytest.mark.parametrize("name", ["code_digest", "base_digest", "decisive_versions"])
def test_other_code_base_or_versions_are_another_adapter(world: Path, monkeypatch, name: str) -> None:
    """The store would give back what an older release, or other weights under the same path, had trained."""
    before = store_key(job(world, "keyed"), monkeypatch)
    monkeypatch.setattr(training, name, lambda *given: "another")
    assert store_key(job(world, "keyed"), monkeypatch) != before


@pytest.mark.parametrize(
    ("section", "change", "same"),
    [
        ("model", {"max_pixels": 60 * 56}, False),
        ("model", {"compute_dtype": "float16"}, False),
        ("prompt", {"system": "Answer."}, False),
        ("train", {"learning_rate": 0.02}, False),
        ("train", {"seed": 1}, False),
        ("train", {"keep": "last"}, False),
        ("train", {"devices": 2}, False),  # equal up to rounding only
        ("train", {"checkpoint_minutes": 7}, True),
        ("train", {"max_minutes": 500}, True),
        ("train", {"trackers": ["tensorboard"]}, True),
    ],
)
def test_another_setting_is_another_adapter(world: Path, monkeypatch, section: str, change: dict, same: bool) -> None:
    """An old adapter must not pass for the new settings', nor may hours be spent again for what changes nothing."""
    arguments = job(world, "keyed")
    changed = arguments | {section: dict(arguments[section]) | change}
    assert changed[section] != arguments[section]
    assert (store_key(changed, monkeypatch) == store_key(arguments, monkeypatch)) is same


# Spelt out: a field that the stage forgets would else be forgotten here too.
@pytest.mark.parametrize("field", ["question", "a", "b", "c", "d", "answer", "qtype", "sha256", "width", "height"])
def test_another_row_is_another_adapter(world: Path, tmp_path: Path, monkeypatch, field: str) -> None:
    """A corrected question or answer must be trained on, and be measured by; row 0 is held out, row 1 is not."""
    arguments, keys = job(world, "keyed"), []
    for row in (None, 0, 1):
        table = pd.read_parquet(arguments["table"])
        if row is not None:
            table.loc[row, field] += 1 if field in ("width", "height") else "x"
        table.to_parquet(tmp_path / "table.parquet")
        keys.append(store_key(arguments | {"table": tmp_path / "table.parquet"}, monkeypatch))
    keys.append(store_key(arguments | {"fold": 1}, monkeypatch))
    assert len(set(keys)) == 4


@pytest.mark.parametrize("mode", ["off", "disk"])
def test_cached_features_train_the_same_adapter(world: Path, uninterrupted: Path, mode: str) -> None:
    """Where features are kept is a matter of memory and time alone."""
    folder = run(job(world, mode, cache_vision=mode))
    assert_same_training(folder, uninterrupted)
    kept = list((world / mode / "work" / "vision").rglob("*.safetensors"))
    assert len(kept) == (40 if mode == "disk" else 0)


def test_an_adapter_on_all_rows_holds_none_out_and_ends_where_the_folds_were_best(world: Path) -> None:
    """Trained for all epochs, it would be past the point at which the folds' adapters were kept."""
    folds = [world / "all" / f"fold{fold}.csv" for fold in (0, 1)]
    for path, epoch in zip(folds, (1, 3), strict=True):
        path.parent.mkdir(exist_ok=True)
        lines = [f"{5 * e},{e},1.0,0.5,0.01,{0.9 if e == epoch else 0.5}\n" for e in (1, 2, 3)]
        path.write_text("step,epoch,loss,accuracy,learning_rate,val_accuracy\n" + "".join(lines), encoding="utf-8")
    folder = run(job(world, "all") | {"fold": None, "histories": folds})
    told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (told["rows"], told["validation_rows"], told["last_epoch"], told["steps_done"]) == (40, 0, 2.0, 10)
    log = pd.read_csv(folder / "log.csv")
    assert log["epoch"].max() == 2.0 and log["learning_rate"].iloc[-1] > 0, "the schedule is that of all epochs"
    last = run(job(world, "last", keep="last") | {"fold": None, "histories": folds})
    assert json.loads((last / "run.json").read_text(encoding="utf-8"))["last_epoch"] == 3.0


def test_another_last_epoch_is_another_adapter(world: Path, monkeypatch) -> None:
    """Else the store would give the adapter of other folds."""
    arguments = job(world, "keyed") | {"fold": None}
    log = world / "one.csv"
    keys = set()
    for best in (1, 2):
        log.write_text(f"epoch,val_accuracy\n1,{0.5 + (best == 1) / 4}\n2,{0.5 + (best == 2) / 4}\n", encoding="utf-8")
        keys.add(store_key(arguments | {"histories": [log]}, monkeypatch))
    assert len(keys) == 2


@pytest.mark.parametrize("text", ["epoch,val_accuracy\n1,\n", "step\n1\n", "epoch,val_accuracy\n"])
def test_a_damaged_log_of_a_fold_is_named(world: Path, text: str) -> None:
    log = world / "cut.csv"
    log.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="cut.csv: is damaged"):
        training_world.training_arguments(**job(world, "cut") | {"fold": None, "histories": [log]})
