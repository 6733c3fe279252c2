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
    "pandas.read_pickle",
    "torch.hub.load",
    "torch.jit.load",
    "tempfile.mktemp",
    "runpy.run_path",
    "jinja2.Environment",
}
METHODS = {"read_pickle", "to_pickle"}
# What a call must say, and with which value: what is left out has a default that may change.
REQUIRED = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
FIXED = {"trust_remote_code": False, "use_safetensors": True, "shell": False, "allow_pickle": False}
SHORT = {"np": "numpy", "pd": "pandas", "pl": "polars"}  # as everybody calls them, even where no import is seen
GUARDED = NAMES | CALLS | REQUIRED.keys()
LOADERS = ("from_pretrained",)
# What may stand there all the same, and why.
ALLOWED = {
    ("config/yaml_files.py", "yaml.load"): "its Loader is a SafeLoader (the last test)",
    **dict.fromkeys(
        [("training/ranks.py", "import pickle"), ("training/ranks.py", "pickle.dump")],
        "a training sends its job to processes that it has started itself",
    ),
    **dict.fromkeys(
        [("training/other_rank.py", "import pickle"), ("training/other_rank.py", "pickle.load")],
        "such a process reads it from the pipe to its parent",
    ),
    **dict.fromkeys(
        [("features/readers.py", what) for what in ("import pickle", "pickle.dumps", "getattr(, …)")]
        + [("features/reader_process.py", "getattr(, …)")]
        + [("features/wire.py", what) for what in ("import pickle", "pickle.dumps", "pickle.loads")]
        + [("features/wire.py", f"pickle.{what}") for what in ("Pickler", "Unpickler")],
        "a job and the processes that it has started to read images talk through a socket of their own",
    ),
}


def forbidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and words of each thing that could run what data say, under whatever name it is called."""
    names = renamed(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            yield from _wrong(node.lineno, zip(keys, node.values, strict=True))
        elif isinstance(node, ast.Assign):  # options["trust_remote_code"] = …, auto.trust_remote_code = …
            yield from _wrong(node.lineno, ((_place(target), node.value) for target in node.targets))
        elif isinstance(node, ast.Call):
            yield from _calls(node, names)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield from _handed_on(node, tree, names)


def renamed(tree: ast.AST) -> dict[str, str]:
    """What each name of a module stands for: imported under another name, or assigned from something dotted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            if isinstance(node.value, ast.Name | ast.Attribute | ast.Call) and (name := full_name(node.value, found)):
                if name in GUARDED:
                    found[node.targets[0].id] = name
    return found


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name of what is called, as the library itself has it; "" for anything else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "operator.attrgetter"):  # getattr(m, "x")
        whole = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
        return f"{full_name(node.args[0], names)}.{node.args[1].value}" if whole else ""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}".removeprefix("builtins.")
    name = names.get(node.id, node.id) if isinstance(node, ast.Name) else ""
    first, _, rest = name.partition(".")
    return ".".join(filter(None, [SHORT.get(first, first), rest]))


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[int, str]]:
    named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    yield from ((node.lineno, f"import {name}") for name in named if name.split(".")[0] in MODULES)
    if named == ["jinja2"]:
        yield from ((node.lineno, "Environment") for alias in node.names if alias.name == "Environment")


def _calls(call: ast.Call, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    name = full_name(call.func, names)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    is_module = ast.unparse(call.func) in ("importlib.import_module", "import_module")
    if is_module and call.args and isinstance(call.args[0], ast.Constant):
        if str(call.args[0].value).split(".")[0] in MODULES:
            yield call.lineno, f"import {call.args[0].value}"
    if name in NAMES or name in CALLS or name.rpartition(".")[2] in METHODS or of_module(name):
        yield call.lineno, name
    if name == "getattr":
        whose = full_name(call.args[0], names)
        if whose in {guarded.rpartition(".")[0] for guarded in GUARDED} and not isinstance(call.args[1], ast.Constant):
            yield call.lineno, f"getattr({whose}, …)"
    if name in REQUIRED:
        key, value = REQUIRED[name]
        if not (isinstance(given.get(key), ast.Constant) and given[key].value is value):
            yield call.lineno, f"{name} without {key}={value}"
    yield from _wrong(call.lineno, given.items())
    if name == "setattr" and len(call.args) == 3 and isinstance(call.args[1], ast.Constant):
        yield from _wrong(call.lineno, [(call.args[1].value, call.args[2])])


def _handed_on(node: ast.Name | ast.Attribute, tree: ast.AST, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    """A loader that is not called but given to something that calls it: map(torch.load, files), partial(eval)."""
    name = full_name(node, names)
    if name in GUARDED and name not in ("compile", "input"):
        called = any(isinstance(other, ast.Call) and other.func is node for other in ast.walk(tree))
        if not called:
            yield node.lineno, f"{name} handed on"


def of_module(name: str) -> bool:
    """Whether something is called that is in a forbidden module."""
    return "." in name and name.split(".")[0] in MODULES


def _place(target: ast.AST) -> object:
    """The key or the attribute that an assignment sets."""
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return target.slice.value
    return target.attr if isinstance(target, ast.Attribute) else None


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
        "from torch import load as l\nl(file)",
        "import torch as t\nt.load(file)",
        "import numpy as n\nn.load(file)",
        "from numpy import load\nload(file)",
        "from yaml import load\nload(text)",
        "import yaml as y\ny.full_load(text)",
        "from os import system as run\nrun(text)",
        "getattr(torch, 'load')(file)",
        "read = getattr(torch, 'load')\nread(file)",
        "read = torch.load\nread(file)",
        "getattr(torch, name)(file)",
        "getattr(yaml, 'unsafe_load')(text)",
        "map(torch.load, files)",
        "partial(eval, text)",
        "pickle.loads(data)",
        "import builtins\nbuiltins.exec(text)",
        "importlib.import_module('pickle')",
        "options = dict(trust_remote_code=True)",
        "options['trust_remote_code'] = True",
        "options |= {'trust_remote_code': trusted}",
        "options.update(trust_remote_code=True)",
        "config.trust_remote_code = True",
        "setattr(config, 'trust_remote_code', True)",
        "table.read_pickle(file)",
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
        "from torch import load as l\nl(file, weights_only=True)",
        "getattr(torch, 'load')(file, weights_only=True)",
        "getattr(torch, 'bfloat16')",
        "from json import load\nload(file)",
        "model.compile(text)",
        "options['trust_remote_code'] = False",
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
