"""From captions to rows: what is still to be done, a bounded number of rows at a time, and a progress bar."""

import asyncio
import collections
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from tqdm import tqdm

from jaxclip.generation.captions import Caption
from jaxclip.generation.endpoint import Usage
from jaxclip.generation.english import words
from jaxclip.generation.errors import RowFailed
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.output import Output


class Writer(Protocol):
    """Writes the texts of rows: `models.Models` or `rules.rulebook.Rulebook`."""

    shared_roles: tuple[str, ...]

    async def write(self, outcome: Outcome, role: str, *, with_twin: bool) -> None: ...

    async def close(self) -> None: ...


async def run(
    writer: Writer,
    captions: Sequence[Caption],
    output: Output,
    *,
    roles: tuple[str, ...],
    concurrency: int,
    retry_failed: bool,
) -> Usage:
    """Makes every row that is neither accepted nor failed yet, or with `retry_failed` the failed ones alone.

    Args:
        writer: of the texts.
        captions: of the whole run.
        output: where rows go as soon as they are made.
        roles: texts of each row.
        concurrency: captions that are worked on at the same time.
        retry_failed: do the failed rows, and nothing else.

    Returns:
        The tokens of this run.

    Raises:
        GenerateError: the run cannot go on; what is done is in the files.
    """
    done = {*output.accepted, *output.failed}
    todo = [
        caption for caption in captions if (caption.id in output.failed if retry_failed else caption.id not in done)
    ]
    groups = collections.defaultdict(list)
    for caption in todo:
        groups[_key(caption.text)].append(caption)
    waiting = iter(groups.items())
    known = _known_texts(captions, output, writer.shared_roles)
    usage = Usage()
    with _bar(len(captions), len(captions) - len(todo)) as bar:

        async def work() -> None:
            for key, group in waiting:  # the iterator is shared, so each group is taken once
                async for outcome in _rows_of_one_caption(writer, group, output, roles, known[key]):
                    output.add(outcome)
                    _advance(bar, output, usage, outcome)
                    await asyncio.sleep(0)  # rules never wait, and an interrupt must get its turn

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(concurrency, len(groups))):
                    tasks.create_task(work())
        except ExceptionGroup as errors:  # the first of them stopped the others
            raise errors.exceptions[0] from None
        finally:
            await writer.close()
    return usage


def _key(text: str) -> str:
    """Equal for captions that differ in case, punctuation and white space at most."""
    return " ".join(words(text)) or text


def _known_texts(captions: Sequence[Caption], output: Output, shared: Sequence[str]) -> dict[str, dict[str, str]]:
    """Key of a caption → texts that accepted rows of this caption have already."""
    known = collections.defaultdict(dict)
    for caption in captions:
        texts = output.accepted.get(caption.id, {})
        known[_key(caption.text)] |= {role: text for role, text in texts.items() if role in shared}
    return known


async def _rows_of_one_caption(
    writer: Writer, group: Sequence[Caption], output: Output, roles: Sequence[str], shared: dict[str, str]
) -> AsyncIterator[Outcome]:
    """The rows of one caption, one after the other, so that texts that they share are written once."""
    failure: tuple[str, RowFailed] | None = None
    for caption in group:
        outcome = _started(caption, output.failed.get(caption.id), shared)
        try:
            for role in roles:
                if role in outcome.texts or role == "false_absence":  # which comes with the absence
                    continue
                outcome.role = role
                if failure is not None and failure[0] == role:
                    raise failure[1]
                await writer.write(outcome, role, with_twin="false_absence" in roles)
        except RowFailed as error:
            outcome.reason, outcome.detail = error.reason, error.detail
            if outcome.role in writer.shared_roles:
                failure = (outcome.role, error)
        shared |= {role: text for role, text in outcome.texts.items() if role in writer.shared_roles}
        yield outcome


def _started(caption: Caption, failed: Mapping[str, Any] | None, shared: Mapping[str, str]) -> Outcome:
    """An outcome with the texts that are there already; that of a failed row goes on with all that the row tells."""
    if failed is None:
        return Outcome(caption, texts=dict(shared))
    return Outcome(
        caption,
        texts={**failed["texts"], **shared},
        refused={role: list(reasons) for role, reasons in failed["refused"].items()},
        notes=dict(failed["notes"]),
        earlier=Usage(**failed["tokens"]),
    )


def _bar(total: int, done: int) -> tqdm:
    return tqdm(total=total, initial=done, desc="generating", unit=" rows", dynamic_ncols=True)


def _advance(bar: tqdm, output: Output, usage: Usage, outcome: Outcome) -> None:
    """One row more, with the accept rate of all rows and the tokens of this run."""
    usage.prompt += outcome.usage.prompt
    usage.completion += outcome.usage.completion
    tokens = usage.prompt + usage.completion
    accepted = f"{len(output.accepted) / (len(output.accepted) + len(output.failed)):.0%} accepted"
    bar.set_postfix_str(f"{accepted}, {tokens:,} tokens" if tokens else accepted, refresh=False)
    bar.update()
