"""What is handed on with a finished run: cards and crates must be true, repeatable, and free of secrets."""

import json
import shutil
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from places import ROOT
from results_world import make_whole_run
from vqaflow.artifacts.adapter_files import adapter_digest
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.about import About, about_of
from vqaflow.config.loading import checked_config
from vqaflow.evaluation.cards.facts import front_matter
from vqaflow.evaluation.verify.byte_checks import check_bytes
from vqaflow.evaluation.verify.card_checks import check_cards
from vqaflow.evaluation.verify.results import Results
from vqaflow.evaluation.verify.verify import verify
from vqaflow.provenance.cards import write_cards
from vqaflow.provenance.crate import write_crate
from vqaflow.provenance.crate_checks import check_crate, check_sums, read_graph, validate
from vqaflow.provenance.history import HISTORY
from vqaflow.provenance.signing import check_signature, make_keys, sign, signature_of
from vqaflow.provenance.software import audit, write_bom
from vqaflow.provenance.tools import tool
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.output_records import OUTPUTS, record_outputs, records_in, rule_of
from vqaflow.runtime.secrets import require_no_secret

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"[:34]
AUTHOR = {"name": "Kim Minji", "orcid": "https://orcid.org/0000-0002-1825-0097", "affiliation": "Lab"}
ABOUT = {"name": "Shapes", "license": "Apache-2.0", "data_license": "CC-BY-4.0", "authors": [AUTHOR]}
TABLES = ["results/tables/train.parquet", "results/folds.parquet"]


RULES = {
    "tables/": "validate_tables",
    "folds.": "make_folds",
    "adapters/": "train_adapter",
    "scores/": "score_choices",
    "members/": "pool_member",
    "ensemble/": "ensemble_probabilities",
    "evaluation/": "evaluate_oof",
    "eda/": "explore_data",
    "answers/": "show_answers",
    "base.": "store_base",
    "submission.csv": "write_submission",
    "submission.validated.json": "validate_submission",
}


def record_by_rule(results: Path) -> None:
    """Record the run's files by rules, and by folders those of adapters and scores, as jobs do."""
    (record,) = records_in(results)
    names = [name for name in json.loads(record.read_text("utf-8"))[OUTPUTS] if (results / name).is_file()]
    record.unlink()
    jobs: dict[str, list[Path]] = {}
    for name in names:
        rule = next((rule for start, rule in RULES.items() if name.startswith(start)), None)
        if rule:
            job = f"{rule}/{'.'.join(Path(name).parts[1:3])}" if rule == "train_adapter" else rule
            jobs.setdefault(job, []).append(results / name)
    for job, paths in jobs.items():
        record_outputs(results / "logs" / f"{job}.log", paths)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with the records that Snakemake leaves of it."""
    run = tmp_path_factory.mktemp("made")
    results = make_whole_run(run / "results")
    (run / "train.csv").write_text("id\n", encoding="utf-8")
    record_by_rule(results)
    for number, record in enumerate(records_in(results)):
        for name in json.loads(record.read_text("utf-8"))[OUTPUTS]:
            told = {"rule": rule_of(record, results), "starttime": 1.8e9 + number, "endtime": 1.8e9 + number + 0.5}
            told |= {"input": ["train.csv"] if name.startswith("tables/") else TABLES}
            told |= {"params": ["'folds.n: 3'"], "input_checksums": {}}
            path = run / HISTORY / urlsafe_b64encode(f"results/{name}".encode()).decode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(told), encoding="utf-8")
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run to change."""
    return shutil.copytree(made, tmp_path / "run")


def at(run: Path) -> ResultsFolder:
    return ResultsFolder(run / "results")


def config(**about: object) -> dict:
    """The demo's configuration, of which crates are made here."""
    return checked_config() | {"about": ABOUT | about}


def crate(run: Path, name: str = "crate", with_data: bool = False, **about: object) -> Path:
    write_crate(at(run), config(**about), ROOT, run / name, with_data)
    return run / name


def needs(name: str) -> None:
    """Skip a test whose program is not installed; docs/provenance.md says how to install it."""
    try:
        tool(name)
    except UserError as error:
        pytest.skip(str(error))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_card_says_how_good_its_adapter_is_and_what_of(run: Path) -> None:
    """Who downloads an adapter knows base, data and accuracy without asking."""
    card = write_cards(at(run), about_of(config()))[0]
    text, front = card.read_text("utf-8"), front_matter(card.read_text("utf-8"))
    metrics = json.loads(at(run).metrics.read_text("utf-8"))["single"]["fold0/original"]
    assert front["library_name"] == "peft" and front["license"] == "apache-2.0"
    assert front["vqaflow"]["adapter"] == adapter_digest(card.parent)
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == round(metrics["accuracy"], 4)
    assert f"n = {metrics['n']} rows" in text and "95 % interval" in text and "Kim Minji" in text
    assert "## Intended use" in text and "## Limits" in text


def test_cards_change_no_adapter_and_are_equal_the_second_time(run: Path) -> None:
    """A card that changed a digest would make scores worthless, or train again."""
    folder = at(run).adapter("main", 0)
    before, digest = files_of(folder), adapter_digest(folder)
    card = write_cards(at(run), About())[0]
    first = card.read_bytes()
    write_cards(at(run), About())
    after = files_of(folder)
    assert after.pop("README.md") == first == card.read_bytes()
    assert after == before and adapter_digest(folder) == digest


def test_verify_knows_cards(run: Path) -> None:
    """A run with cards passes, as does one whose adapter was trained again, which takes its card with it."""
    cards = write_cards(at(run), about_of(config()))
    assert [text for _, state, text in verify(run / "results") if state != "ok"] == []
    cards[0].unlink()
    assert "files are as their rules wrote them" in check_bytes(Results(at(run)))


@pytest.mark.parametrize("old", ["apache-2.0", "n = 4", "LoRA", "rank 2"])
def test_an_edited_card_is_found_and_named(run: Path, old: str) -> None:
    """A better accuracy written by hand must not pass, nor another licence."""
    card = write_cards(at(run), about_of(config()))[1]
    text = card.read_text("utf-8")
    assert old in text
    card.write_text(text.replace(old, "other", 1), encoding="utf-8")
    with pytest.raises(UserError, match="fold1/README.md: does not say"):
        check_cards(Results(at(run)))
    with pytest.raises(UserError, match="fold1/README.md: was changed.*vqaflow cards"):
        check_bytes(Results(at(run)))


def test_a_card_of_scores_by_another_adapter_is_refused(run: Path) -> None:
    """Its accuracy would be another adapter's."""
    scores = at(run).scores("main", "oof", 0, "original")
    shutil.copyfile(at(run).scores("main", "oof", 1, "original"), scores)
    (at(run).adapter("main", 0) / "README.md").unlink(missing_ok=True)
    config = at(run).adapter("main", 0) / "adapter_config.json"
    config.write_text(config.read_text("utf-8").replace('"r": 2', '"r": 3'), encoding="utf-8")
    with pytest.raises(UserError, match="adapter_config.json: is not the file that training wrote"):
        write_cards(at(run), About())


def test_a_crate_is_whole_and_names_each_job(run: Path) -> None:
    """An archive must find every input, output and digest of each job."""
    entities = read_graph(crate(run))
    assert len(list(check_crate(run / "crate"))) == 3
    jobs = [name for name in entities if name.startswith("#job-")]
    assert len(jobs) == len(records_in(run / "results"))
    weights = entities["results/adapters/main/fold0/adapter_model.safetensors"]
    recorded = json.loads((at(run).adapter("main", 0) / "run.json").read_text("utf-8"))["files"]
    assert weights["sha256"] == recorded["adapter_model.safetensors"]
    assert entities["./"]["license"] == {"@id": "https://spdx.org/licenses/Apache-2.0"}
    assert entities["./"]["author"] == {"@id": AUTHOR["orcid"]}


def test_equal_runs_give_equal_crates(run: Path) -> None:
    assert files_of(crate(run, "one")) == files_of(crate(run, "two"))


def test_rows_and_pictures_stay_at_home_unless_asked_for(run: Path) -> None:
    """Whoever publishes a crate must not publish the competition's data by it."""
    names = [name for name in files_of(crate(run)) if name.startswith("results/")]
    assert not [name for name in names if "tables/" in name or name.endswith((".html", "train.csv"))]
    assert "results/tables/train.parquet" in files_of(crate(run, "all", with_data=True))


def test_a_crate_of_a_changed_file_is_refused_and_named(run: Path) -> None:
    """It would give a digest of the record to other bytes."""
    (run / "results" / "submission.csv").write_text("id,answer\n", encoding="utf-8")
    with pytest.raises(UserError, match="submission.csv: was changed since the rule"):
        crate(run)
    assert not (run / "crate").exists()


def test_a_crate_of_another_configuration_is_refused(run: Path) -> None:
    """It would say of the run what is not so."""
    other = config()
    other["folds"] = other["folds"] | {"n": 5}
    with pytest.raises(UserError, match="folds.n is not as it was"):
        write_crate(at(run), other, ROOT, run / "crate", False)


def test_without_snakemake_s_records_the_cure_is_said(run: Path) -> None:
    shutil.rmtree(run / ".snakemake")
    with pytest.raises(UserError, match="only Snakemake's records say what each job read"):
        crate(run)


@pytest.mark.parametrize("harm", ["digest", "reference", "property"])
def test_a_damaged_crate_is_found(run: Path, harm: str) -> None:
    folder = crate(run)
    path = folder / "ro-crate-metadata.json"
    if harm == "digest":
        (folder / "results" / "submission.csv").write_text("id,answer\n", encoding="utf-8")
    elif harm == "reference":
        path.write_text(path.read_text("utf-8").replace('"@id": "#step-make_folds"', '"@id": "#x"', 1), "utf-8")
    else:
        path.write_text(path.read_text("utf-8").replace('"datePublished"', '"date"', 1), "utf-8")
    with pytest.raises(UserError, match="was changed|which is not there|has no datePublished"):
        list(check_crate(folder))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_others_check_a_crate_with_a_program_that_they_have(run: Path) -> None:
    """All of its files: the graph names no digest of itself."""
    folder = crate(run)
    asked = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(asked, cwd=folder, capture_output=True).returncode == 0
    named = {line[66:] for line in (folder / "SHA256SUMS").read_text("utf-8").splitlines()}
    assert named == files_of(folder).keys() - {"SHA256SUMS"}
    with (folder / "ro-crate-metadata.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True)
    assert done.returncode and "ro-crate-metadata.json: FAILED" in done.stdout


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "more.txt").touch(), "more.txt: is not in SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS: is missing"),
        (lambda folder: (folder / "workflow/Snakefile").write_text(""), "Snakefile: was changed since"),
        (lambda folder: (folder / "workflow/rules/data.smk").unlink(), "rules/data.smk: is missing"),
    ],
)
def test_a_file_that_does_not_fit_the_list_is_named(run: Path, harm, message: str) -> None:
    folder = crate(run)
    assert check_sums(folder) > 50
    harm(folder)
    with pytest.raises(UserError, match=message):
        check_sums(folder)


@pytest.mark.parametrize("place", ["description", "limits"])
def test_a_planted_token_reaches_neither_card_nor_crate(run: Path, place: str) -> None:
    """A token in the configuration must not be published."""
    with pytest.raises(UserError, match="line .* holds a token") as told:
        crate(run, **{place: f"see {TOKEN}"})
    assert TOKEN not in str(told.value) and not (run / "crate").exists()
    with pytest.raises(UserError):
        write_cards(at(run), About(limits=TOKEN))
    assert not list(run.rglob("README.md"))


def test_the_value_of_a_secret_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    with pytest.raises(UserError, match="^card: line 2 holds a token or a password"):
        require_no_secret("card", "a\nkey 0123456789abcdef")
    require_no_secret("card", "key")


def test_the_published_validator_accepts_a_crate(run: Path) -> None:
    """As Provenance Run Crate, at the level that it requires."""
    needs("rocrate-validator")
    try:
        assert "accepts it" in validate(crate(run))
    except UserError as error:
        if "cache warm" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_signature_holds_until_a_file_changes(run: Path) -> None:
    """And another's key does not pass for the author's."""
    needs("model_signing")
    folder = at(run).adapter("main", 0)
    private, public = make_keys(run / "keys")
    assert private.stat().st_mode & 0o077 == 0
    sign(folder, private, signature_of(folder))
    check_signature(folder, public, signature_of(folder))
    _, other = make_keys(run / "other")
    with pytest.raises(UserError, match="does not match its signature"):
        check_signature(folder, other, signature_of(folder))
    (folder / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="does not match its signature"):
        check_signature(folder, public, signature_of(folder))


def test_the_private_key_cannot_be_handed_on_with_the_folder(run: Path) -> None:
    folder = at(run).adapter("main", 0)
    key = folder / "key.pem"
    key.write_text("key", encoding="utf-8")
    with pytest.raises(UserError, match="would be handed on"):
        sign(folder, key, signature_of(folder))


def test_a_program_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(UserError, match="model_signing: is not installed.*requirements-provenance.txt"):
        tool("model_signing")


def test_the_list_of_software_is_repeatable(tmp_path: Path) -> None:
    needs("cyclonedx-py")
    write_bom(tmp_path / "one.json")
    write_bom(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert "torch" in {part["name"] for part in json.loads((tmp_path / "one.json").read_text("utf-8"))["components"]}


def test_a_list_of_software_that_holds_a_password_is_not_written(tmp_path: Path, monkeypatch) -> None:
    """pip keeps the address that a package came from, with the user and the password of a private index."""
    address = "https://me:" + "planted0secret1" + "@index.example/simple/x-1.whl"
    program = tmp_path / "cyclonedx-py"
    told = json.dumps({"components": [{"name": "x", "externalReferences": [{"url": address}]}]})
    program.write_text(f"#!/bin/sh\nprintf '%s' '{told}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: str(program))
    with pytest.raises(UserError, match="bom.json: line 1 holds a token or a password") as caught:
        write_bom(tmp_path / "bom.json")
    assert "planted" not in str(caught.value) and not (tmp_path / "bom.json").exists()


ANSWERS = {
    "skipped": (
        '{"dependencies": [{"name": "x", "skip_reason": "not found"}]}',
        "1 of 1 packages could not be looked up",
    ),
    "silent": ("", "did not answer"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_audit_without_its_database_does_not_pass(case: str, tmp_path: Path, monkeypatch) -> None:
    """pip-audit ends well, and says that nothing is known, where no package could be looked up (seen offline)."""
    answer, message = ANSWERS[case]
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n", encoding="utf-8")
    program.chmod(0o755)
    lock = tmp_path / "lock"
    lock.write_text("x==1\n", encoding="utf-8")
    monkeypatch.setattr("vqaflow.provenance.tools.tool", lambda name: str(program))
    with pytest.raises(UserError, match=message):
        audit(lock, "pypi")


def test_a_known_vulnerability_is_told(tmp_path: Path, monkeypatch) -> None:
    vulnerability = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}
    answer = json.dumps({"dependencies": [{"name": "x", "version": "1", "vulns": [vulnerability]}]})
    monkeypatch.setattr(
        "vqaflow.provenance.software.run_tool", lambda *_: subprocess.CompletedProcess([], 1, answer, "")
    )
    assert audit(ROOT / "requirements.lock", "pypi") == ["x 1: PYSEC-1, CVE-1; mended in 2"]
