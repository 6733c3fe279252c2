"""What a checkpoint's chat template puts around the user's text, and the special tokens that only it may add.

Used with a loaded processor, and while the workflow is parsed with what a folder's files say (processor_files.py): so
neither torch nor transformers nor pandas is imported here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vqaflow.config.sections import PromptConfig
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of

ANSWER = "\ufffb"  # stands for an answer
USER_TEXT = "\N{OBJECT REPLACEMENT CHARACTER}"
NO_THINKING: Mapping[str, Any] = {"enable_thinking": False}  # for every chat template that knows it
WHERE = "config model.base:"
OWN_FILES = "Copy the processor files (chat_template.jinja and the like) of the published Instruct edition."
# Tags around thoughts: angle or square brackets, with or without bars, or a channel of that name.
THOUGHT = r"(?:\w+:)?(?:think|thinking|thought|thoughts|reason|reasoning)"
OPENED = re.compile(rf"[<\[]\|?{THOUGHT}\|?[>\]]|<\|?channel\|?>\s*(?:{THOUGHT}|analysis)", re.I)
CONTROL = re.compile(r"^<\|[^\s<>]+>$|^<[^\s<>]+\|>$")  # fim_prefix, for example, is not always called special
TOOLS = re.compile(r"^</?tool_\w+>$")  # turns of tools, which published tokenizers do not call special
CLOSED = re.compile(rf"[<\[]\|?/\|?{THOUGHT}\|?[>\]]|<\|?/?channel\|>(?!\s*(?:{THOUGHT}|analysis))", re.I)


def special_tokens(processor: Any) -> list[str]:
    """Tokens that control the model, the longest first.

    Those that the tokenizer calls special, those that the processor has a name for, and added tokens that look like
    control tokens, mark thoughts, or stand in the chat template.
    """
    tokenizer, template = processor.tokenizer, template_of(processor) or ""
    found = {value for name, value in vars(processor).items() if name.endswith("_token") and isinstance(value, str)}
    found |= {*getattr(tokenizer, "all_special_tokens", ()), getattr(processor, "image_token", None) or ""}
    for token in getattr(tokenizer, "added_tokens_decoder", {}).values():
        looks = any(pattern.search(token.content) for pattern in (CONTROL, OPENED, CLOSED, TOOLS))
        if token.special or looks or (token.content[:1] in ("<", "[") and token.content in template):
            found.add(token.content)
    return sorted((token for token in found if len(token.strip()) > 1), key=lambda token: (-len(token), token))


def broken_up(text: str, special: Sequence[str]) -> tuple[str, str | None]:
    """`text` with a space within each special token, and the first of these tokens, if there are any."""
    first = token = _first(special, text)
    while token is not None:
        text = text.replace(token, f"{token[0]} {token[1:]}")
        token = _first(special, text)
    return text, first


def _first(special: Sequence[str], text: str) -> str | None:
    """The first of the special tokens that `text` contains."""
    return next((token for token in special if token in text), None)


def template_of(processor: Any) -> str | None:
    """The processor's chat template, or the one that its tokenizer has; of several, the default one."""
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, Mapping) else template


def require_plain(prompt: PromptConfig, special: Sequence[str]) -> None:
    """Raise UserError if a configured text contains a special token."""
    texts = {key: getattr(prompt, key) for key in ("system", "choice_format", "read", "transcript")}
    texts |= {f"templates.{kind}": text for kind, text in prompt.templates.items()}
    texts["letters"] = "\n".join(prompt.letters or ())
    if USER_TEXT in prompt.system:
        raise UserError("config prompt.system: it contains U+FFFC, the mark of an object that is not there. Delete it.")
    for key, text in texts.items():
        if token := _first(special, text):
            raise UserError(
                f"config prompt.{key}: it contains {token}, a special token of the base. Delete it: the chat template "
                "adds all special tokens."
            )


def around_user_text(processor: Any, system: str, arguments: Mapping[str, Any], pictures: int) -> tuple[str, str]:
    """What the chat template puts before (pictures included) and after the user's text, up to the answer."""
    content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": USER_TEXT}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    text = _rendered(processor, messages, arguments)
    if text.count(USER_TEXT) != 1:
        raise UserError(f"{WHERE} its chat template does not contain the user's text exactly once. {OWN_FILES}")
    if system.strip() not in text:
        raise UserError(f"{WHERE} its chat template leaves prompt.system out. Set prompt.system to ''. {OWN_FILES}")
    _require_answer_asked(processor, messages, arguments, text)
    _require_no_date(processor, messages, arguments)
    head, tail = text.split(USER_TEXT)
    _require_pictures(processor, head, tail, pictures)
    if _is_open(tail):
        raise UserError(
            f"{WHERE} its chat template opens a thinking block that cannot be switched off. Use the Instruct edition."
        )
    return head, tail


def _require_answer_asked(
    processor: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], text: str
) -> None:
    """Raise UserError if the template ignores add_generation_prompt: the letter would be sought in the user's turn.

    Templates without an opening of the answer pass: there, an answer follows the user's text directly.
    """
    if _rendered(processor, messages, arguments, ask=False) != text:
        return
    answer = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
    try:
        before = _rendered(processor, [*messages, answer], arguments, ask=False).partition(ANSWER)[0]
    except UserError:  # it takes the text of an answer only as it is
        before = _rendered(processor, [*messages, {"role": "assistant", "content": ANSWER}], arguments, ask=False)
        before = before.partition(ANSWER)[0]
    if len(before.strip()) > len(text.strip()):
        raise UserError(
            f"{WHERE} its chat template does not open the answer (it ignores add_generation_prompt). {OWN_FILES}"
        )


def _require_no_date(processor: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> None:
    """Raise UserError if the template writes the day: training and scoring on two days would have two prompts."""
    if "strftime_now" not in template_of(processor):
        return
    if USER_TEXT * 2 in _rendered(processor, messages, {**arguments, "strftime_now": lambda form: USER_TEXT * 2}):
        what = "its chat template writes today's date, so that each day has another prompt"
        raise UserError(f"{WHERE} {what}. Write a fixed date in place of strftime_now into a copy of the base.")


def _rendered(
    processor: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any], ask: bool = True
) -> str:
    """The chat, with the answer's opening if it is to `ask` for one."""
    template = template_of(processor)
    if not template:
        raise UserError(f"{WHERE} it has no chat template. {OWN_FILES}")
    known = {name: value for name, value in arguments.items() if name in template}  # the library warns of others
    try:
        return processor.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=ask, **known
        )
    except Exception as error:  # a syntax error, or whatever the template raises
        reason = reason_of(error)
        has_system = any(message["role"] == "system" for message in messages)
        cure = f"Set prompt.system to '' if it takes no system turn. {OWN_FILES}" if has_system else OWN_FILES
        raise UserError(f"{WHERE} its chat template fails ({reason}). {cure}") from error


def _require_pictures(processor: Any, head: str, tail: str, pictures: int) -> None:
    """Raise UserError unless each picture's token stands before the user's text, exactly once.

    Some processors expand another token, which begins an image, into the picture's tokens.
    """
    marks = [getattr(processor, name, None) for name in ("image_token", "boi_token")]
    counts = [((head + tail).count(mark), head.count(mark)) for mark in marks if mark]
    if counts and next((count for count in counts if count[0]), (0, 0)) != (pictures, pictures):
        if pictures > 1:
            what = f"its chat template does not place {pictures} images before the user's text"
            raise UserError(f"{WHERE} {what}. Use views without tiles, or a base whose template takes several images.")
        raise UserError(
            f"{WHERE} its chat template does not place the picture ({marks[0]}) before the user's text exactly once. "
            f"{OWN_FILES}"
        )


def _is_open(tail: str) -> bool:
    """Whether a block of thoughts is open at the end of `tail`."""
    opened, closed = ([match.start() for match in tag.finditer(tail)] for tag in (OPENED, CLOSED))
    return max(opened, default=-1) > max(closed, default=-1)
