"""What is wrong with the form of a hub name; nothing is looked up, since a run's parsing must not use the network."""

import re
from collections.abc import Iterator

from vqaflow.runtime.messages import nearest

# The names that are misspelt most: of the published bases of the families that vqaflow knows.
PUBLISHED = (
    *(f"Qwen/Qwen2-VL-{size}-Instruct" for size in ("2B", "7B", "72B")),
    *(f"Qwen/Qwen2.5-VL-{size}-Instruct" for size in ("3B", "7B", "32B", "72B")),
    *(f"Qwen/Qwen3-VL-{size}-Instruct" for size in ("2B", "4B", "8B", "32B", "30B-A3B", "235B-A22B")),
    *(f"Qwen/Qwen3.5-{size}" for size in ("0.8B", "2B", "4B", "9B", "27B", "35B-A3B")),
    *(f"google/gemma-4-{size}-it" for size in ("12B", "31B")),
    *(f"OpenGVLab/InternVL3_5-{size}-HF" for size in ("1B", "2B", "4B", "8B", "14B", "38B")),
)
# Published bases that read text alone. Others are known by their config.json only, which a job fetches.
TEXT_ALONE = re.compile(
    r"(?!.*(VL\b|Vision|Omni|Multimodal))("
    r"Qwen/(Qwen(1\.5|2|2\.5|3)?-([\d._]+[MB]\b|Coder|Math|MoE|Next).*|CodeQwen.*|QwQ-.*)"
    r"|meta-llama/(Llama-2-.*|(Meta-)?Llama-(3|3\.1|3\.3)-\d+B.*|Llama-3\.2-[13]B.*)"
    r"|mistralai/(Mistral-7B|Mistral-Nemo|Mixtral|Ministral-8B-Instruct-2410).*"
    r"|google/gemma-(\d+b|1\.1-|2-|3-(1b|270m)).*"
    r"|microsoft/(phi-(1|1_5|2|4)|Phi-(3|3\.5|4)-(mini|small|medium|MoE|reasoning).*)"
    r"|deepseek-ai/DeepSeek-(V[23]|R1|LLM|Coder).*"
    r"|LGAI-EXAONE/EXAONE-(3\.0|3\.5|4\.0|Deep)-.*)",
    re.IGNORECASE,
)
PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.cn/models)/+", re.I)
LOADED_BY = re.compile(r"(hf|modelscope|models?)(://|:)", re.I)
PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
EXAMPLE = "Qwen/Qwen3-VL-8B-Instruct"
CLOSE = 0.93  # how similar a misspelt name is


def hub_name_problems(name: str) -> Iterator[str]:
    """What is wrong with `name` as a hub name, and the cure; one line at most."""
    plain = "/".join(part for part in re.sub(r"\s+", "", name).replace("\\", "/").split("/") if part)
    if is_address(name):
        path = LOADED_BY.sub("", PAGE.sub("", name.strip()), count=1)
        short = "/".join(re.split(r"[?#]", path)[0].split("/")[:2])
        write = repr(short) if is_hub_name(short) else "the model's own name, owner/name"
        yield f"{name!r} is an address, not a hub name. Write {write}."
    elif name != plain:
        fault = "has a space" if re.search(r"\s", name) else "has a \\" if "\\" in name else "has a / too many"
        if meant(plain) in PUBLISHED or (fault == "has a / too many" and is_hub_name(plain)):
            yield f"{name!r} {fault}. Write {meant(plain)!r}, or the path of a folder that is there."
        else:
            yield f"there is no folder {name}, and as a hub name (owner/name) it {fault}. Correct it."
    elif ":" in name or "@" in name:
        yield f"{name!r} has a commit behind its name. Write {re.split('[:@]', name)[0]!r}, and it in model.revision."
    elif is_hub_name(name) and TEXT_ALONE.fullmatch(name):
        yield f"{name} reads no pictures. Give a vision-language model, such as {EXAMPLE}."
    elif is_hub_name(name):
        if meant(name) != name:
            yield f"there is no folder {name}, and no published base of this name; did you mean {meant(name)!r}?"
    elif "/" not in name and PART.fullmatch(name):
        if meant(name) != name:  # a few old names have no owner
            yield f"there is no folder {name}, and a hub name has an owner (owner/name); did you mean {meant(name)!r}?"
    else:
        yield f"{name!r} is neither a folder nor a hub name (owner/name, of letters, digits, ., _ and -). Correct it."


def is_hub_name(name: str) -> bool:
    """Whether a name has the form owner/name."""
    return name.count("/") == 1 and all(PART.fullmatch(part) for part in name.split("/"))


def is_address(name: str) -> bool:
    """Whether a name is the address of a page, or has the sign of a program that fetches from a hub."""
    return bool(PAGE.match(name.strip()) or LOADED_BY.match(name.strip()))


def meant(name: str) -> str:
    """The published name that `name` is in another case, with other signs, a slip, or no owner; else itself."""
    if name in PUBLISHED:
        return name
    bare = {bare_form(known): known for known in PUBLISHED}
    without_owner = {bare_form(known.split("/")[1]): known for known in PUBLISHED}
    if found := bare.get(bare_form(name)) or without_owner.get(bare_form(name)):
        return found
    numbers = re.findall(r"\d+", name)
    alike = [known for known in PUBLISHED if re.findall(r"\d+", known) == numbers]  # other sizes are other bases
    return nearest(name, alike, cutoff=CLOSE) or name


def bare_form(name: str) -> str:
    """A name in small letters without its signs, but for the point within a number."""
    return re.sub(r"(?<!\d)\.|\.(?!\d)|[-_ ]", "", name.lower())
