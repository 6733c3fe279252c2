"""No data of a user, and no file of a hub, can run code: forbidden calls are looked for in the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from places import ROOT, SCRIPTS
from vqaflow.config import yaml_files

EXAMPLE = ROOT / "docs/examples/first_evening.py"  # it plays the command lines that its page shows
FILES = sorted({*SCRIPTS.rglob("*.py"), *(ROOT / "docs").rglob("*.py"), ROOT / "setup.py"} - {EXAMPLE})
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "imp", "pty", "code"}
NAMES = {"eval", "exec", "compile", "__import__", "input"}
CALLS = {
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "torch.hub.load",
    "torch.jit.load",
    "tempfile.mktemp",
    "runpy.run_path",
    "jinja2.Environment",
}
METHODS = {"read_pickle", "to_pickle"}
# What a call must say, and with which value: what is left out has a default that may change.
REQUIRED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
FIXED = {"trust_remote_code": False, "use_safetensors": True, "shell": False, "allow_pickle": False}
LOADERS = ("from_pretrained",)
# What may stand there all the same, and why.
ALLOWED = {
    ("config/yaml_files.py", "yaml.load"): "its Loader is a SafeLoader (the last test)",
    ("training/ranks.py", "import pickle"): "a training sends its job to processes that it has started itself",
    ("training/other_rank.py", "import pickle"): "such a process reads it from the pipe to its parent",
}


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of each thing that could run what data say."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, f"import {name}") for name in named if name.split(".")[0] in MODULES)
            if named == ["jinja2"]:
                yield from ((node.lineno, "Environment") for alias in node.names if alias.name == "Environment")
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            yield from _wrong(node.lineno, zip(keys, node.values, strict=True))
        elif isinstance(node, ast.Call):
            yield from _calls(node)


def _calls(call: ast.Call) -> Iterator[tuple[int, str]]:
    name = ast.unparse(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in NAMES or name in CALLS or name.rpartition(".")[2] in METHODS:
        yield call.lineno, name
    if name in REQUIRED:
        key, value = REQUIRED[name]
        if not (isinstance(given.get(key), ast.Constant) and given[key].value is value):
            yield call.lineno, f"{name} without {key}={value}"
    yield from _wrong(call.lineno, given.items())


def _wrong(line: int, given: object) -> Iterator[tuple[int, str]]:
    for key, value in given:
        if key in FIXED and not (isinstance(value, ast.Constant) and value.value is FIXED[key]):
            yield line, f"{key}={ast.unparse(value)}"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "yaml.load(text)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "pd.read_pickle(file)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=config.trust)",
        "options = {'trust_remote_code': True}",
        "Network.from_pretrained(name, use_safetensors=False)",
        "from jinja2 import Environment",
    ],
)
def test_each_form_is_found(code: str) -> None:
    """Else the test below would pass over it."""
    assert list(forbidden(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "network.eval()",
        "re.compile(text)",
        "yaml.safe_load(text)",
        "torch.load(file, weights_only=True)",
        "np.load(file, allow_pickle=False)",
        "NO_CODE = {'trust_remote_code': False}",
        "from jinja2.sandbox import ImmutableSandboxedEnvironment",
    ],
)
def test_what_is_safe_passes(code: str) -> None:
    assert not list(forbidden(ast.parse(code)))


def test_nothing_in_the_source_can_run_what_data_say() -> None:
    """A base from the hub, a table or a configuration of somebody else would own the machine."""
    found = [
        f"{file.relative_to(ROOT)}:{line}: {what}"
        for file in FILES
        for line, what in forbidden(ast.parse(file.read_text(encoding="utf-8")))
        if ("/".join(file.parts[-2:]), what) not in ALLOWED
    ]
    assert not found


def test_every_loader_of_a_library_refuses_code() -> None:
    """The library's default asks on a terminal, and others' code runs if somebody answers yes."""
    loose = []
    for file in (file for file in FILES if "bench" not in file.parts and "tiny_base" not in file.parts):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(LOADERS):
                given = {keyword.arg for keyword in node.keywords}
                if not given & {"trust_remote_code", None} and "PeftModel" not in ast.unparse(node.func):
                    loose.append(f"{Path(file).relative_to(ROOT)}:{node.lineno}")
    assert not loose, "give it **source_of(model) or **NO_CODE (model/hub.py)"


def test_settings_are_read_by_a_loader_that_makes_no_objects() -> None:
    """`!!python/object/apply` in a settings file would run what it names."""
    assert issubclass(yaml_files.Loader, yaml.SafeLoader)
