"""Helpers of all rules: the checked configuration, what is scored, and the digest of each rule's code.

Parsing reads no data. Snakemake compares params as text, so keys are sorted: their order in a file means nothing.
"""

import os
import sys
from pathlib import Path

SCRIPTS = CHECKOUT / "workflow_scripts"
# This process and all jobs use the package beside this Snakefile, even if another one is installed.
sys.path.insert(0, str(SCRIPTS))
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")])))

from vqaflow.artifacts.parts import PART, fold_of, seed_of
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.data.images.changes import images_state
from vqaflow.data.images.visual_tokens import token_pixels
from vqaflow.model.base_digest import base_digest
from vqaflow.model.checkpoint import base_problems
from vqaflow.model.processor_files import template_problems
from vqaflow.model.resize_limits import resize_limits
from vqaflow.runtime.code_digest import code_digest
from vqaflow.config.sections import (
    READING,
    AnswersConfig,
    BaseConfig,
    EnsembleConfig,
    HpoConfig,
    ModelConfig,
    entries,
    section,
)
from vqaflow.config.members import (
    TUNED,
    UNTUNED,
    explored_model,
    explored_views,
    least_max_tokens,
    members_of,
    with_model,
)
from vqaflow.config.loading import in_order
from vqaflow.config.named_values import named_values
from vqaflow.config.check import check_config, check_files
from vqaflow.config.checkout import completed, relocated, require_one_checkout
from vqaflow.config.invocation import IMAGE, require_kept
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import DEBUG, unexpected
from vqaflow.runtime.secrets import hidden

try:
    require_one_checkout(CHECKOUT)
    if workflow.is_main_process and not IS_MODULE:  # a module has the settings that its caller gives it
        require_kept(sys.argv[1:], config, Path("results"))
    config = completed(config, CHECKOUT, lacking=workflow.modifier.skip_configfile)
    check_config(config, CHECKOUT / "schemas" / "config.schema.yaml")
    config = in_order(relocated(config, placed))
    MEMBERS = members_of(config)
    MODELS = with_model(MEMBERS)
    problems = [problem for base in sorted({m.model["base"] for m in MODELS}) for problem in base_problems(base)]
    problems = problems or sorted({p for m in MODELS for p in template_problems(m.model["base"], m.prompt)})
    check_files(config, RESULTS_FOLDER, problems)
except UserError as error:
    raise SystemExit(hidden(f"error: {error}")) from None
except Exception as error:
    if DEBUG in sys.argv:
        raise
    raise SystemExit(hidden(f"error: {unexpected(error, None)}")) from None

HELP = """Targets, with your own data: snakemake --configfile my.yaml -- TARGET
  plan                                   what fits, and the hours of the whole run, before it starts
  (none)                                 everything out of date, up to results/submission.validated.json
  results/tables/train.parquet           check the tables and the images
  results/eda/summary.json               figures of what the data look like
  results/folds.parquet                  leak-free folds
  results/base.main.json                 a member's base model, quantised once for all jobs
  results/hpo/main/best.yaml             better training parameters, if hpo.enabled
  results/adapters/main/fold0            a member's adapter of one fold
  results/scores/main/test/fold0/hflip.parquet  a member's scores in one fold and view
  results/members/main/oof.parquet       what a member says of each training row
  results/evaluation/metrics.json        accuracy with its interval, overall and in parts
  results/submission.csv                 the file to hand in
  results/answers/test_answers.html      its answers with their pictures, the least certain first
  merged                                 every adapter merged into its base, as checkpoints for other programs
  zero_shot                              the submission of a member `untuned: {train: none}`, before anything is trained
After a run: snakemake --configfile my.yaml --report results/report.html   everything in one page"""
RESULTS = ResultsFolder(RESULTS_FOLDER)
FOLDS = range(config["folds"]["n"])
WORKERS = range(config["hpo"]["workers"])
TRAINED = [member for member in MODELS if member.kind == TUNED]
UNTUNED_MEMBERS = [member.name for member in MODELS if member.kind == UNTUNED]
BASES = {member.name: base_digest(section(ModelConfig, member.model)) for member in MODELS}
VIEWS = sorted({view for member in MODELS for view in member.shown_views})
EXPLORED = explored_model(config)
NOT_COMPARED = ...  # Snakemake compares texts, numbers, lists and dictionaries only


wildcard_constraints:
    member="|".join(MEMBERS),
    fold=PART,
    split="oof|test",
    view="|".join(VIEWS) or "none",
    worker=r"\d+",


def code_of(rule_name):
    """A digest of the code that a rule's results depend on: its script and what it imports from the package."""
    return f"code of {rule_name}: {code_digest(SCRIPTS / f'{rule_name}.py')[:16]}"


def named(key, value, examples=(), shown=None):
    """Params of a rule: a setting, under the last part of its key, and what Snakemake compares of it, one text per key.

    `value` may be a function of wildcards; then `examples` are its values, which say which keys there are. The texts
    name keys that begin with `shown`, or with `key`. Snakemake does not compare a param whose function takes `output`.
    """
    title = key if shown is None else shown
    function = value if callable(value) else lambda wildcards: value
    leaves = {leaf for example in (examples if callable(value) else [value]) for leaf in named_values(title, example)}
    known = {}

    def text_of(leaf):
        def text(wildcards):
            at = tuple(wildcards)
            if at not in known:
                known[at] = named_values(title, function(wildcards))
                assert known[at].keys() <= leaves, f"{key}: no example has all keys of {at}"
            return known[at].get(leaf, NOT_COMPARED)

        return text

    return {key.rpartition(".")[2]: lambda wildcards, output: function(wildcards)} | {
        f"text of {leaf}": text_of(leaf) for leaf in sorted(leaves)
    }


def not_compared(**values):
    """Params whose values decide no result, such as where a job keeps its work and how much disk it may take.

    They are not resources, because these are replaced as a whole where another workflow gives a rule its own.
    """

    def unseen(value):
        return lambda wildcards, output: value  # Snakemake compares no param whose function takes `output`

    return {key: unseen(value) for key, value in values.items()}


def limits_of_rows(members):
    """Params: the limits beyond which an image is too thin to show, or a row too long.

    What is beyond them stops the run: adding a view or raising a limit must not check all images again. In quarantine
    they say which rows are left out, and are compared.
    """
    thin, longest = resize_limits(members), least_max_tokens(members)
    if config["data"]["on_bad_row"] == "stop":
        return not_compared(resize_limits=thin, max_tokens=longest)
    return named("resize_limits", thin, shown="limits of thin images") | named("prompt.max_tokens", longest)


def state_of_images(wildcards):
    """What tells that an image was replaced since the tables were made."""
    return images_state(RESULTS.images, RESULTS.image_times)


def base_of(wildcards):
    """The identity of the base of a member."""
    if wildcards.member not in BASES:
        raise SystemExit(f"error: {wildcards.member} comes from files: it has no base. Name another member.")
    return BASES[wildcards.member]


def named_base():
    """The param `base`: the identity of the base of a member."""
    return named("base", base_of, ["..."], shown="files of the base")


def named_model():
    """The param `model`: the section of a member."""
    return named("model", model_of, [member.model for member in MODELS])


def named_prompt():
    """The param `prompt`: the section of a member, as far as a job reads it."""
    return named("prompt", prompt_of, [member.prompt for member in MODELS])


def named_train():
    """The param `train`: the section of a member."""
    return named("train", train_of, [member.train for member in MODELS])


def named_view(function):
    """The param `view`: how the view of a job, or of a member's training, renders the image."""

    def entry_of(wildcards):
        return {wildcards.get("view", main_of(wildcards)): function(wildcards)}

    renderings = [{view: member.rendering(view)} for member in MODELS for view in member.views]
    texts = named("views", entry_of, renderings)
    texts.pop("views")
    return texts | {"view": lambda wildcards, output: function(wildcards)}


def require_part(wildcards, parts):
    """End with a message if a target names a fold that its member does not have.

    Its adapter could have been trained on the rows that it scores.
    """
    if wildcards.fold not in parts:
        known = f"It has {', '.join(parts)}" if parts else "It has none"
        raise SystemExit(f"error: {wildcards.member} has no fold{wildcards.fold} here. {known}.")


def model_of(wildcards):
    """The section `model` of a member."""
    return MEMBERS[wildcards.member].model


def stored_model_of(wildcards):
    """The keys of a member's section `model` that say which base it is and how its weights are stored."""
    return entries(BaseConfig, model_of(wildcards))


def prompt_of(wildcards):
    """The section `prompt` of a member; what asks for text in images only if the view, or training's, reads."""
    member = MEMBERS[wildcards.member]
    reads = member.views[wildcards.get("view", member.main_view)].get("read")
    return {key: value for key, value in member.prompt.items() if reads or key not in READING}


def train_of(wildcards):
    """The section `train` of an adapter: if its member has several seeds, with its own."""
    return MEMBERS[wildcards.member].train_for(seed_of(wildcards.get("fold", "")))


def trained_view_of(wildcards):
    """How the view renders the image that a member's training renders."""
    member = MEMBERS[wildcards.member]
    return member.rendering(member.main_view)


def told_of_member(wildcards):
    """What member.json says of a member, as far as the configuration knows it."""
    return MEMBERS[wildcards.member].describe()


def orders_of(wildcards):
    """The choice orders in which a member is scored."""
    return MEMBERS[wildcards.member].orders


def view_of(wildcards):
    """How a view renders the image. Whether it is enabled is left out, because its scores do not depend on it."""
    member = MEMBERS[wildcards.member]
    if wildcards.view not in member.views:
        known = f"It has {', '.join(member.shown_views)}" if member.shown_views else "It has none"
        raise SystemExit(f"error: {wildcards.member} has no view {wildcards.view} here. {known}.")
    return member.rendering(wildcards.view)


def main_of(wildcards):
    """The view of a member that is scored for every row."""
    return MEMBERS[wildcards.member].main_view


def stored_base_of(wildcards):
    """A member's quantised base, unless none is kept: FP8 is as fast to make as to read."""
    return [] if model_of(wildcards)["quantization"] in ("none", "fp8") else f"results/base.{wildcards.member}.json"


def best_of(wildcards):
    """The best parameters of a search, which the trainings use; nothing unless hpo.enabled."""
    return f"results/hpo/{wildcards.member}/best.yaml" if config["hpo"]["enabled"] else []


def histories_of(wildcards):
    """The logs of the folds' trainings, which choose the last epoch of an adapter on all rows."""
    require_part(wildcards, MEMBERS[wildcards.member].trained_parts(len(FOLDS)))
    if fold_of(wildcards.fold) is not None:
        return []
    parts = MEMBERS[wildcards.member].parts("oof", len(FOLDS))
    alike = [part for part in parts if seed_of(part) == seed_of(wildcards.fold)]
    return expand("results/adapters/{member}/fold{fold}/log.csv", member=wildcards.member, fold=alike)


def teacher_of(wildcards):
    """What the teacher of a member says of the training rows, if train.teacher names one."""
    teacher = train_of(wildcards)["teacher"]
    return f"results/members/{teacher}/oof.parquet" if teacher else []


def adapter_file(name):
    """A file of the adapter that scores; an untuned base has none."""

    def path(wildcards):
        is_tuned = MEMBERS[wildcards.member].kind == TUNED
        return f"results/adapters/{wildcards.member}/fold{wildcards.fold}/{name}" if is_tuned else []

    return path


def table_of(wildcards):
    """The table whose rows are scored for a split."""
    require_part(wildcards, MEMBERS[wildcards.member].parts(wildcards.split, len(FOLDS)))
    return f"results/tables/{'train' if wildcards.split == 'oof' else 'test'}.parquet"


def folds_of(wildcards):
    """The folds, if only the rows of one are scored."""
    return "results/folds.parquet" if wildcards.split == "oof" and fold_of(wildcards.fold) is not None else []


def trained_folds_of(wildcards):
    """The folds by which an adapter must have been trained: one that was copied from another fold is refused."""
    is_tuned = MEMBERS[wildcards.member].kind == TUNED
    return "results/folds.parquet" if is_tuned and fold_of(wildcards.fold) is not None else []


def margins_of(wildcards):
    """The scores of the main view, for a view that is scored only where these are close."""
    if view_of(wildcards).get("when"):
        return f"results/scores/{wildcards.member}/{wildcards.split}/fold{wildcards.fold}/{main_of(wildcards)}.parquet"
    return []


def others_of(wildcards):
    """What a scoring with the same base and adapter needs to know, for each view and split of this member and fold."""
    member, found = MEMBERS[wildcards.member], []
    for split in ("oof", "test"):
        if wildcards.fold in member.parts(split, len(FOLDS)):
            for view in member.scored_views(split):
                at = {"member": wildcards.member, "split": split, "fold": wildcards.fold, "view": view}
                other = type(wildcards)(fromdict=at)
                makers = {
                    "table": table_of,
                    "folds": folds_of,
                    "trained_folds": trained_folds_of,
                    "margins": margins_of,
                }
                files = {name: placed(path) if (path := maker(other)) else None for name, maker in makers.items()}
                after = at | {"view": member.main_view} if files["margins"] else None
                found.append(
                    {"at": at, "files": files, "view": view_of(other), "prompt": prompt_of(other), "after": after}
                )
    return found


def score_files_of(name, suffix="parquet", splits=("oof", "test"), blind=False):
    """The files beside which a member's scores are written: one for each split, part and view, with `blind` ones."""
    member = MEMBERS[name]
    return [
        f"results/scores/{name}/{split}/fold{part}/{view}.{suffix}"
        for split in splits
        for part in member.parts(split, len(FOLDS))
        for view in (member.scored_views(split) if blind else member.pooled_views)
    ]


def scores_of(wildcards):
    """All scores of a member that answer."""
    return score_files_of(wildcards.member)


def records_of(wildcards):
    """What a member's trainings and scorings cost."""
    parts = MEMBERS[wildcards.member].trained_parts(len(FOLDS))
    runs = expand("results/adapters/{member}/fold{fold}/run.json", member=wildcards.member, fold=parts)
    return runs + score_files_of(wildcards.member, "json")


def merged_files(wildcards):
    """A checkpoint for each adapter, with the reports on their answers."""
    if not TRAINED:
        raise SystemExit("error: members: none is trained, so no adapter can be merged. Add one with a section train.")
    parts = [(member.name, part) for member in TRAINED for part in member.trained_parts(len(FOLDS))]
    return [f"results/merged/{name}/fold{part}{suffix}" for name, part in parts for suffix in ("", ".json")]


def files_of(wildcards):
    """The files of a member that someone else has made: OOF, then test."""
    files = MEMBERS[wildcards.member].probabilities
    return [given(files[split]) for split in ("oof", "test")] if files else []


def zero_shot_files(wildcards):
    """The first submissions of all untuned members."""
    if not UNTUNED_MEMBERS:
        raise SystemExit("error: members: none is untuned. Add one for a first submission: `untuned: {train: none}`.")
    return expand("results/zero_shot/{member}.csv", member=UNTUNED_MEMBERS)
