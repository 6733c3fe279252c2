"""What a base's processor files say of its prompts, while the workflow is parsed: neither torch nor transformers.

The first training would find the same, after tables, images and folds. A stand-in for the processor is read from the
folder's small files and given to the checks of encoding/chat_template.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from vqaflow.config.sections import PromptConfig, section
from vqaflow.data.images.visual_tokens import json_object
from vqaflow.model.encoding.chat_template import NO_THINKING, around_user_text, require_plain, special_tokens
from vqaflow.model.families.known import BY_KIND
from vqaflow.runtime.errors import UserError

JINJA, TEMPLATES = "chat_template.jinja", ("chat_template.json", "processor_config.json", "tokenizer_config.json")
ADDED = '"added_tokens":'


@dataclass(frozen=True)
class Token:
    """An added token of a tokenizer."""

    content: str
    special: bool


@dataclass(frozen=True)
class FileTokenizer:
    """A tokenizer's added tokens, by their ids, and its special ones by their names."""

    added_tokens_decoder: Mapping[int, Token]
    special_tokens_map: Mapping[str, str]
    chat_template: str | None = None

    @property
    def all_special_tokens(self) -> Sequence[str]:
        """The special tokens."""
        return list(self.special_tokens_map.values())


@dataclass(frozen=True)
class FileProcessor:
    """The part of a processor that prompts need."""

    tokenizer: FileTokenizer
    chat_template: str | None
    image_token: str | None
    boi_token: str | None

    def apply_chat_template(self, messages: Any, *, chat_template: str, tokenize: bool, **arguments: Any) -> str:
        """The chat as text, as the library renders it."""
        assert not tokenize
        values = {**self.tokenizer.special_tokens_map, "tools": None, "documents": None, **arguments}
        return _environment().from_string(chat_template).render(messages=messages, **values)


def template_problems(base: str, prompt: Mapping[str, Any]) -> list[str]:
    """What is wrong with the chat template of a base that is a folder, or with `prompt` for it: one line at most."""
    folder = Path(base)
    config = json_object(folder / "config.json")
    family = BY_KIND.get(str(config.get("model_type")))
    if family is None:
        return []
    settings = section(PromptConfig, prompt)
    try:
        processor = _processor(folder, config)
        _require_rows(processor.tokenizer, config)
        require_plain(settings, special_tokens(processor))
        around_user_text(processor, settings.system, {**NO_THINKING, **family.template}, 1)
    except UserError as error:
        return [str(error).removeprefix("config ").replace("model.base: it", f"model.base: {base}: it", 1)]
    return []


def _require_rows(tokenizer: FileTokenizer, config: Mapping[str, Any]) -> None:
    """Raise UserError if an added token, which has one of the highest ids, has no row in the embedding."""
    text = config.get("text_config")
    rows = (text if isinstance(text, Mapping) else config).get("vocab_size", config.get("vocab_size"))
    last = max(tokenizer.added_tokens_decoder, default=-1)
    if isinstance(rows, int) and last >= rows:
        token = tokenizer.added_tokens_decoder[last].content
        raise UserError(
            f"config model.base: its tokenizer gives {token!r} the id {last}, but the embedding has {rows} rows. Copy "
            "the tokenizer files (tokenizer.json and the like) that belong to the weights."
        )


def _processor(folder: Path, config: Mapping[str, Any]) -> FileProcessor:
    """The stand-in for the processor of a folder. Raises UserError if a chat template cannot be read."""
    settings = json_object(folder / "tokenizer_config.json")
    ids = {int(i): _token(about) for i, about in (settings.get("added_tokens_decoder") or {}).items()}
    ids |= dict(_added_tokens(folder / "tokenizer.json"))
    more = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or ()
    named = {**json_object(folder / "special_tokens_map.json"), **settings}
    names = {key: _content(value) for key, value in named.items() if key.endswith("_token") and _content(value)}
    extra = [_content(value) for value in (more.values() if isinstance(more, Mapping) else more)]
    ids |= {-1 - i: Token(content, special=True) for i, content in enumerate(extra) if content}
    marks = (_of_id(ids, config, names) for names in (("image_token_id", "image_token_index"), ("boi_token_id",)))
    return FileProcessor(FileTokenizer(ids, names), _template(folder), *marks)


def _of_id(ids: Mapping[int, Token], config: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The token whose id config.json has under one of `names`."""
    token = next((ids[config[name]] for name in names if config.get(name) in ids), None)
    return token and token.content


def _template(folder: Path) -> str | None:
    """The default chat template, from wherever the library reads one."""
    for file in (folder / JINJA, folder / "additional_chat_templates" / "default.jinja"):
        if file.is_file():
            try:
                return file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                raise UserError(f"config model.base: {file}: it is not text in UTF-8. Save it as UTF-8.") from None
    found = (json_object(folder / name).get("chat_template") for name in TEMPLATES)
    template = next((value for value in found if value), None)
    if isinstance(template, list):
        template = {one.get("name"): one.get("template") for one in template if isinstance(one, Mapping)}
    return template.get("default") if isinstance(template, Mapping) else template


def _added_tokens(file: Path) -> Iterator[tuple[int, Token]]:
    """The added tokens in a tokenizer.json, which stand before its vocabulary of many megabytes."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    start = text.find(ADDED)
    if start >= 0:
        found, _ = json.JSONDecoder().raw_decode(text[start + len(ADDED) :].lstrip())
        yield from ((int(about["id"]), _token(about)) for about in found)


def _token(about: Any) -> Token:
    return Token(_content(about) or "", bool(isinstance(about, Mapping) and about.get("special")))


def _content(value: Any) -> str | None:
    """The text of a token, which files give as it is or as the `content` of a section."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _environment() -> Any:
    """Jinja as the library sets it up for chat templates."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The library's own tag around what an assistant says."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            """Only what stands inside."""
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = lambda value, ensure_ascii=False, **how: json.dumps(value, ensure_ascii=False, **how)
    made.globals |= {"raise_exception": raise_exception, "strftime_now": lambda form: datetime.now().strftime(form)}
    return made
