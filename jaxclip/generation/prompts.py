"""Prompts: TOML files that come with the package, each replaced by a file of the same name in the user's folder.

system = "who the model is and what it shall do"
user = "Caption: $caption"                  # $names are filled in, as JSON strings
again = "Refused: $reason. Write another."  # only where texts are written: asks for another try

[[examples]]                                # few-shot: as many as wanted
caption = "a dog on a couch"                # fills $caption
answer = { text = "a couch with a dog on it" }
"""

import dataclasses
import difflib
import hashlib
import json
import string
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jaxclip.generation.errors import GenerateError

# Name → what is filled in, and the keys of the answer.
PROMPTS = {
    "paraphrase": (("caption",), ("text",)),
    "negation": (("caption",), ("text",)),
    "hard_negative": (("caption",), ("text",)),
    "absence": (("caption", "object"), ("text",)),
    "verify_paraphrase": (("caption", "text"), ("verdict",)),
    "verify_negation": (("caption", "text"), ("verdict",)),
    "verify_hard_negative": (("caption", "text"), ("verdict",)),
    "verify_absence": (("caption", "object", "text"), ("verdict",)),
    "objects": (("caption",), ("present", "absent")),
    "vision": (("object",), ("verdict",)),
}
_SCHEMAS = {
    "text": {"type": "string"},
    "verdict": {"type": "string", "enum": ["yes", "no"]},
    "present": {"type": "string"},
    "absent": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What a model is told, and the JSON that it shall answer with.

    Attributes:
        system: the system message.
        user: the user's message, a template.
        again: a template with $reason that asks for another try; empty where texts are judged.
        examples: pairs of filled-in values and answer.
        schema: JSON schema of the answer.
    """

    system: str
    user: string.Template
    again: string.Template
    examples: tuple[tuple[dict[str, str], dict[str, Any]], ...]
    schema: dict[str, Any]

    def messages(self, values: Mapping[str, str]) -> list[dict[str, Any]]:
        """The conversation: system, examples, and the question.

        Values come from outside, so they are written as JSON strings: a caption cannot break out of its place with
        quotation marks or line breaks.
        """
        messages = [{"role": "system", "content": self.system}]
        for example, answer in self.examples:
            messages += [self._question(example), {"role": "assistant", "content": json.dumps(answer)}]
        return [*messages, self._question(values)]

    def retry(self, refused: str, reason: str) -> list[dict[str, Any]]:
        """What follows `messages` when an answer was refused."""
        refused = refused.encode("utf-8", "replace").decode()  # half a character cannot be sent
        return [
            {"role": "assistant", "content": json.dumps({"text": refused}, ensure_ascii=False)},
            {"role": "user", "content": self.again.substitute(reason=reason)},
        ]

    def _question(self, values: Mapping[str, str]) -> dict[str, Any]:
        quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
        return {"role": "user", "content": self.user.substitute(quoted)}


def load_prompts(directory: Path | None) -> tuple[dict[str, Prompt], str]:
    """All prompts by name, and a digest of them.

    Args:
        directory: the user's folder; NAME.toml in it replaces the prompt of that name.

    Raises:
        FileNotFoundError: no such folder.
        GenerateError: a file of another name, or one that cannot be used.
    """
    own = _own_files(directory) if directory else {}
    prompts, digest = {}, hashlib.sha256()
    for name in PROMPTS:
        path = own.get(name)
        packaged = resources.files("jaxclip.generation") / "prompts" / f"{name}.toml"
        try:
            source = (path or packaged).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise GenerateError(f"{path}: not UTF-8 ({error})") from None
        digest.update(source.encode())
        prompts[name] = _read(name, source, str(path or packaged))
    return prompts, digest.hexdigest()[:12]


def _own_files(directory: Path) -> dict[str, Path]:
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such folder of prompts")
    files = {path.stem: path for path in sorted(directory.glob("*.toml"))}
    for name, path in files.items():
        if name not in PROMPTS:
            near = difflib.get_close_matches(name, PROMPTS, n=1)
            hint = f"; did you mean {near[0]}.toml?" if near else ""
            raise GenerateError(f"{path}: no prompt has this name{hint}; expected some of {', '.join(PROMPTS)}")
    if not files:
        raise GenerateError(f"{directory}: no prompts in it, expected files such as paraphrase.toml")
    return files


def _read(name: str, source: str, path: str) -> Prompt:
    fields, answer_keys = PROMPTS[name]
    try:
        content = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise GenerateError(f"{path}: not TOML ({error})") from None
    known = ("system", "user", "examples", *(("again",) if answer_keys == ("text",) else ()))
    if missing := [key for key in known if key != "examples" and not isinstance(content.get(key), str)]:
        raise GenerateError(f"{path}: expected a text under {missing[0]!r}, found {content.get(missing[0])!r:.80}")
    if unknown := set(content) - set(known):
        raise GenerateError(f"{path}: unknown key {min(unknown)!r}; expected {', '.join(known)}")
    user, again = string.Template(content["user"]), string.Template(content.get("again", ""))
    _check_template(path, "user", user, fields)
    _check_template(path, "again", again, ("reason",) if "again" in known else ())
    examples = content.get("examples", [])
    if not isinstance(examples, list) or not all(_is_example(example, fields, answer_keys) for example in examples):
        raise GenerateError(
            f"{path}: expected in each of 'examples' the texts {', '.join(fields)} and an 'answer' with "
            f"{', '.join(answer_keys)}"
        )
    pairs = tuple(({field: example[field] for field in fields}, example["answer"]) for example in examples)
    properties = {key: _SCHEMAS[key] for key in answer_keys}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(answer_keys),
        "additionalProperties": False,
    }
    return Prompt(content["system"], user, again, pairs, schema)


def _check_template(path: str, key: str, template: string.Template, fields: tuple[str, ...]) -> None:
    if not template.is_valid():
        raise GenerateError(f"{path}: {key!r} has a stray $; write $$ for a dollar sign")
    if set(template.get_identifiers()) != set(fields):
        found = " and ".join(f"${name}" for name in template.get_identifiers()) or "none"
        raise GenerateError(f"{path}: {key!r} should hold {' and '.join(f'${name}' for name in fields)}, found {found}")


def _is_example(example: Any, fields: tuple[str, ...], answer_keys: tuple[str, ...]) -> bool:
    return (
        isinstance(example, dict)
        and set(example) == {*fields, "answer"}
        and all(isinstance(example[field], str) for field in fields)
        and isinstance(example["answer"], dict)
        and set(example["answer"]) == set(answer_keys)
    )
