"""The cells of the notebooks for Kaggle and Colab; `make notebooks` writes both files from them.

The cells are plain Python: the tests run the same ones. What differs between runs (competition, base, settings) is in
kit.json, which notebooks/kit.py packs with the workflow, so that the notebooks stay as they are. Variables of the
environment, VQAFLOW_…, move the service's folders for a trial elsewhere.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
SERVICES = ("kaggle", "colab")

ABOUT = {
    "kaggle": """# vqaflow on Kaggle

Two T4, internet off. Run all cells, or *Save & Run All*. The run stops cleanly before the session ends and leaves in
its output what the next session needs: add that output as an input and run the notebook again. docs/kaggle.md""",
    "colab": """# vqaflow on Colab

One card; Google Drive is what stays. Put the folder that `make colab` wrote into Drive as `MyDrive/vqaflow`, with the
data in it, and run all cells. If the machine is lost, run them again: the run goes on from Drive. docs/kaggle.md""",
}
PLACES = {
    "kaggle": """INPUT = Path(os.environ.get("VQAFLOW_INPUT", "/kaggle/input"))
OUTPUT = Path(os.environ.get("VQAFLOW_OUTPUT", "/kaggle/working"))  # kept after the session
SCRATCH = Path(os.environ.get("VQAFLOW_SCRATCH", "/kaggle/tmp"))  # lost after the session
PROFILE = os.environ.get("VQAFLOW_PROFILE", "profiles/kaggle-t4x2")
GPUS, COPIES_DATA = 2, False""",
    "colab": """if "VQAFLOW_INPUT" not in os.environ:
    from google.colab import drive

    drive.mount("/content/drive")
INPUT = Path(os.environ.get("VQAFLOW_INPUT", "/content/drive/MyDrive/vqaflow"))
OUTPUT = Path(os.environ.get("VQAFLOW_OUTPUT", INPUT))  # kept after the session
SCRATCH = Path(os.environ.get("VQAFLOW_SCRATCH", "/content/vqaflow"))  # lost after the session
PROFILE = os.environ.get("VQAFLOW_PROFILE")
if PROFILE is None:
    asked = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    profiles = {"A100": "profiles/colab-a100", "L4": "profiles/colab-l4", "T4": "profiles/kaggle-t4x2"}
    PROFILE = next((profile for card, profile in profiles.items() if card in asked.stdout), "profiles/gpu")
    print(asked.stdout.strip(), PROFILE)
GPUS, COPIES_DATA = 1, True  # Drive is slow with thousands of images""",
}

SETTINGS = """# Run this cell first: the hours of the session count from here.
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

STARTED = time.time()
HOURS = float(os.environ.get("VQAFLOW_HOURS", 12))  # of a session
MARGIN = float(os.environ.get("VQAFLOW_MARGIN", 20))  # minutes before its end at which the run stops
EVERY = float(os.environ.get("VQAFLOW_EVERY", 10))  # minutes between two keeps of what is done
PLACES


def find(name):
    \"\"\"The files of this name in the inputs; services put each input at another depth.\"\"\"
    return sorted(path for depth in range(6) for path in INPUT.glob("*/" * depth + name))


def run(*words, check=True, **options):
    \"\"\"Run a command in the workflow's folder, and show what it prints.\"\"\"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    shown = subprocess.Popen(list(map(str, words)), start_new_session=True, **streams, **options)
    try:
        for line in shown.stdout:
            print(line, end="", flush=True)
    except KeyboardInterrupt:  # the notebook's stop button: a run then stops in good order
        shown.terminate()
        print(shown.stdout.read(), end="")
    if shown.wait() != 0 and check:
        raise RuntimeError(f"exit status {shown.returncode}: {' '.join(map(str, words[:6]))}")
    return shown.returncode"""

INSTALL = """# The workflow, and what it needs, beside the torch of this machine.
WORK = SCRATCH / "workflow"
if not (WORK / "kit.json").is_file():
    packed, unpacked = find("workflow.zip"), find("kit.json")  # some services unpack what they are given
    if not packed and not unpacked:
        raise RuntimeError(f"{INPUT}: no workflow.zip. Add what make kaggle or make colab wrote as an input.")
    if packed:
        zipfile.ZipFile(packed[0]).extractall(WORK)
    else:
        shutil.copytree(unpacked[0].parent, WORK)
KIT = json.loads((WORK / "kit.json").read_text())

PYTHON = SCRATCH / "python" / "bin" / "python"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", PYTHON]
if not (SCRATCH / "installed").exists():
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", "--system-site-packages", SCRATCH / "python")
    lists = find("wheels.lock")  # internet is off: all comes from the inputs
    here = ["--no-index", "--find-links", lists[0].parent] if lists else []
    pins = lists[0] if lists else WORK / "requirements-kaggle.lock"
    run(*PIP, "install", "--quiet", "--no-deps", "--require-hashes", *here, "-r", pins)
    (SCRATCH / "installed").touch()
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(WORK / "workflow_scripts"), os.environ.get("PYTHONPATH")]))
VQAFLOW, SNAKEMAKE = [PYTHON, "-m", "vqaflow"], [PYTHON, "-m", "snakemake"]
run(*VQAFLOW, "doctor", check=False, cwd=WORK)  # advice on this machine"""

PLAN = """# Data, base and settings; how long it takes.
def link(name, target):
    \"\"\"Give an input a name that stays from session to session, below the workflow's folder.\"\"\"
    if not (WORK / name).exists():
        (WORK / name).symlink_to(target.resolve(), target_is_directory=True)


kept = [path.parent for path in find("kept.json")]
own = OUTPUT / "kept"  # of a session whose output the service has left here
EARLIER = own if (own / "kept.json").is_file() else kept[-1] if kept else None
print("goes on from", EARLIER)

if KIT["competition"]:
    places = [INPUT / KIT["competition"], INPUT / "competitions" / KIT["competition"]]
    archive = INPUT / f"{KIT['competition']}.zip"
    if archive.is_file() and not (WORK / "competition").exists():
        zipfile.ZipFile(archive).extractall(SCRATCH / "unpacking")
        (SCRATCH / "unpacking").rename(WORK / "competition")
    elif not (WORK / "competition").exists():
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise RuntimeError(f"{places[0]}: is not there. Add the competition's data as an input.")
        if COPIES_DATA:
            shutil.copytree(found, SCRATCH / "unpacking", dirs_exist_ok=True)
            (SCRATCH / "unpacking").rename(WORK / "competition")
        else:
            link("competition", found)

bases = [path.parent for path in find("config.json") if "model_type" in json.loads(path.read_text())]
bases = [folder for folder in bases if list(folder.glob("*.safetensors"))]
if KIT["model"] and not bases:
    raise RuntimeError(f"{INPUT}: the model {KIT['model']} is not there. Add it as an input.")
files = []
if bases:
    link("base", bases[0])
    (WORK / "base.yaml").write_text("model: {base: base}\\n")
    files.append("base.yaml")

mine = WORK / "my.yaml"
if not mine.is_file() and find("my.yaml"):
    shutil.copyfile(find("my.yaml")[-1], mine)  # the settings of the earlier session, or your own in Drive
if not mine.is_file() and KIT["competition"]:
    run(*VQAFLOW, "init", "competition", *(["--base", "base"] if bases else []), cwd=WORK)
if mine.is_file():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(mine, OUTPUT / "my.yaml")
    files.insert(0, "my.yaml")
run(*VQAFLOW, "plan", "--config", f"{PROFILE}/settings.yaml", *files, cwd=WORK)"""

RUN = """# The run. It stops in time; what it has done is kept in the output.
left = HOURS - (time.time() - STARTED) / 3600
SESSION = ["session", "--hours", f"{left:.4f}", "--margin", MARGIN, "--every", EVERY, "--keep", OUTPUT / "kept"]
SESSION += ["--from", EARLIER] if EARLIER else []
CONFIGURED = ["--configfile", *files] if files else []
STATUS = run(
    *VQAFLOW, *SESSION, "--", *SNAKEMAKE, *CONFIGURED, "--profile", PROFILE, "--resources", f"gpu={GPUS}",
    check=False, cwd=WORK,
)  # no error here: the output must be kept in any case"""

END = """# What came out.
if STATUS == 0:
    shutil.copyfile(WORK / "results" / "submission.csv", OUTPUT / "submission.csv")
    shutil.copytree(WORK / "results" / "evaluation", OUTPUT / "evaluation", dirs_exist_ok=True)
    print((OUTPUT / "submission.csv").read_text()[:200])
elif STATUS == 75:
    print("Stopped in time. Run the notebook again with this output as an input: it goes on, and nothing is lost.")
else:
    print("The run failed: see its last lines above. Mend it, and run the notebook again with this output as input.")"""


def cells(service: str) -> list[tuple[str, str]]:
    """The cells of a service's notebook: (markdown or code, text)."""
    code = [SETTINGS.replace("PLACES", PLACES[service]), INSTALL, PLAN, RUN, END]
    return [("markdown", ABOUT[service]), *(("code", text) for text in code)]


def notebook(service: str) -> str:
    """The text of its .ipynb file."""
    accelerator = {"accelerator": "GPU", "colab": {"gpuType": "L4"}} if service == "colab" else {}
    made = {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(cells(service))],
        "metadata": {
            **accelerator,
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, text: str) -> dict:
    ran = {"execution_count": None, "outputs": []} if kind == "code" else {}
    lines = text.splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell{number}", "metadata": {}, **ran, "source": lines}


def main() -> None:
    """Write the notebooks beside this file."""
    for service in SERVICES:
        (HERE / f"{service}.ipynb").write_text(notebook(service), encoding="utf-8")


if __name__ == "__main__":
    main()
