r"""Writes training triplets for captions: paraphrases, negations and absences, by language models or by rules.

With any OpenAI-compatible chat endpoint (Ollama, vLLM, llama.cpp, hosted): one model writes, a second one judges, and
what it refuses it writes again:

    ollama pull phi4; ollama pull mistral
    python -m jaxclip.generate --captions=captions.csv --output=triplets.jsonl \
        --base_url=http://localhost:11434/v1 --generator=phi4 --verifier=mistral

Without any model, from COCO's annotations:

    python -m jaxclip.generate --captions=captions_val2017.json --output=triplets.jsonl --base_url=rules \
        --instances=instances_val2017.json --roles=paraphrase,negation,absence,false_absence

The output is what --config.datasets.triplets.annotations of jaxclip.main takes. Stopped or killed at any moment, the
same command goes on where it was; rows that failed are kept in OUTPUT.failed.jsonl with their reason, and
--retry_failed tries those alone. report.html beside the output shows what was accepted and what was refused, and why.

API keys come from the environment: OPENAI_API_KEY for --base_url; VERIFIER_API_KEY and VISION_API_KEY for endpoints of
their own.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from tqdm import tqdm

import jaxclip
from jaxclip.command_line import read_flags, refuse_words
from jaxclip.generation.captions import read_captions
from jaxclip.generation.endpoint import Endpoint, host
from jaxclip.generation.errors import GenerateError
from jaxclip.generation.models import Models
from jaxclip.generation.objects import Instances, read_instances
from jaxclip.generation.output import Output, failed_path
from jaxclip.generation.pipeline import Writer, run
from jaxclip.generation.prompts import load_prompts
from jaxclip.generation.quality import write_quality_report
from jaxclip.generation.rules.rulebook import Rulebook
from jaxclip.generation.rules.wordnet import WordNet

RULES = "rules"
ROLES = ("paraphrase", "negation", "hard_negative", "absence", "false_absence")


def check_flags(values: flags.FlagValues) -> None:
    """Raises GenerateError where flags do not go together."""
    by_rules = values.base_url == RULES
    if Path(values.output).suffix != ".jsonl":
        raise GenerateError(f"--output={values.output}: expected a .jsonl file")
    if not values.roles or len(set(values.roles)) != len(values.roles) or set(values.roles) - set(ROLES):
        raise GenerateError(f"--roles={','.join(values.roles)}: expected some of {','.join(ROLES)}, each once")
    if "false_absence" in values.roles and "absence" not in values.roles:
        raise GenerateError("--roles: false_absence is the twin of absence, and needs it")
    if by_rules and "absence" in values.roles and not values.instances:
        raise GenerateError("--roles=absence by rules needs --instances: what is in the images")
    for name in ("generator", "verifier"):
        if not by_rules and not values[name].value:
            raise GenerateError(f"--{name}: expected the name of a model at {host(values.base_url)}")
    for name in ("generator", "verifier", "vision", "prompts"):
        if by_rules and values[name].value:
            raise GenerateError(f"--{name}: rules have no models; leave it out, or give the URL of an endpoint")
    if values.wordnet and not by_rules:
        raise GenerateError("--wordnet: only rules use it; models need none")
    if values.vision and not values.images:
        raise GenerateError("--vision needs --images: the folder of the photographs")


def make_writer(values: flags.FlagValues, instances: Instances | None) -> tuple[Writer, dict]:
    """Who writes, and how each row tells that."""
    if values.base_url == RULES:
        wordnet = WordNet(Path(values.wordnet)) if values.wordnet else None
        return Rulebook(instances, wordnet), {"generator": RULES, "wordnet": wordnet is not None}
    prompts, digest = load_prompts(Path(values.prompts) if values.prompts else None)

    def endpoint(role: str, model: str) -> Endpoint:
        own_url = role != "generator" and values[f"{role}_base_url"].value
        # A key goes to the endpoint that it is meant for and to no other.
        key = os.environ.get(f"{role.upper()}_API_KEY" if own_url else "OPENAI_API_KEY")
        return Endpoint(
            own_url or values.base_url,
            model,
            key,
            temperature=values.temperature,
            timeout=values.timeout,
            tries=values.tries,
        )

    models = Models(
        generator=endpoint("generator", values.generator),
        verifier=endpoint("verifier", values.verifier),
        vision=endpoint("vision", values.vision) if values.vision else None,
        prompts=prompts,
        rewrites=values.rewrites,
        instances=instances,
        images=Path(values.images) if values.images else None,
    )
    made_by = {name: values[name].value for name in ("generator", "verifier", "vision", "temperature")}
    return models, {**made_by, "prompts": digest}


def load_checkpoint(name: str) -> Any:
    """The CLIP that the report's similarities are computed by."""
    from jaxclip import console  # here, because it imports JAX, which nothing else needs

    console.quiet_libraries()
    try:
        return jaxclip.load(name)
    except (ValueError, OSError) as error:
        raise GenerateError(f"--checkpoint={name}: {error}") from None


def generate(values: flags.FlagValues) -> None:
    """The whole run."""
    check_flags(values)
    columns = dict(column.split("=", 1) for column in values.columns if "=" in column)
    if len(columns) != len(values.columns):
        raise GenerateError(f"--columns={','.join(values.columns)}: expected ROLE=COLUMN, such as caption=title")
    captions, repeated = read_captions([Path(path) for path in values.captions], columns)
    captions = captions[: values.limit]
    instances = read_instances([Path(path) for path in values.instances]) if values.instances else None
    clip = load_checkpoint(values.checkpoint) if values.checkpoint else None  # before hours of work, not after
    writer, made_by = make_writer(values, instances)
    roles = tuple(role for role in ROLES if role in values.roles)
    path = Path(values.output)
    output = Output(path, captions, roles, made_by)
    dropped = f", {repeated} repeated ones left out" if repeated else ""
    tqdm.write(f"{len(captions):,} captions{dropped}; {len(output.accepted) + len(output.failed):,} done before")
    try:
        asyncio.run(
            run(
                writer,
                captions,
                output,
                roles=roles,
                concurrency=values.concurrency,
                retry_failed=values.retry_failed,
            )
        )
    finally:
        output.close()
    report = Path(values.report or path.with_name("report.html"))
    images = Path(values.images) if values.images else None
    write_quality_report(report, path, checkpoint=values.checkpoint, clip=clip, images=images)
    tqdm.write(f"{len(output.accepted):,} accepted: {path}")
    if output.failed:
        tqdm.write(f"{len(output.failed):,} failed:   {failed_path(path)} (--retry_failed tries them again)")
    tqdm.write(f"report:   {report}")


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and generates."""
    refuse_words(arguments)
    try:
        generate(flags.FLAGS)
    except (GenerateError, OSError) as error:
        tqdm.write(f"Error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        tqdm.write("Stopped; every finished row is saved, and the same command goes on.")
        sys.exit(130)


if __name__ == "__main__":
    flags.DEFINE_list(
        "captions",
        None,
        "CSV, TSV or JSONL files with the columns image (or filename, …) and caption, or COCO captions JSON.",
        required=True,
    )
    flags.DEFINE_list("columns", [], "Names of columns where they differ: ROLE=COLUMN,…, such as caption=title.")
    flags.DEFINE_integer("limit", None, "Only the first so many captions, to try things out.", lower_bound=1)
    flags.DEFINE_string("output", None, "The .jsonl file to write, or to go on with.", required=True)
    flags.DEFINE_string(
        "base_url", None, "The chat endpoint, such as http://localhost:11434/v1; or rules.", required=True
    )
    flags.DEFINE_string("generator", None, "The model that writes.")
    flags.DEFINE_string("verifier", None, "The model that judges, and writes again what it refused.")
    flags.DEFINE_string("verifier_base_url", None, "The verifier's endpoint, where it is another one.")
    flags.DEFINE_string("vision", None, "A vision model that looks whether an object is really absent; needs --images.")
    flags.DEFINE_string("vision_base_url", None, "The vision model's endpoint, where it is another one.")
    flags.DEFINE_list("roles", ["paraphrase", "negation"], f"Texts of each row: some of {','.join(ROLES)}.")
    flags.DEFINE_list(
        "instances", [], "COCO instances JSON: what is in the images, for absences and exchanged objects."
    )
    flags.DEFINE_string(
        "images", None, "The folder of the photographs, for --vision and for the report's similarities."
    )
    flags.DEFINE_string("prompts", None, "A folder of prompts; NAME.toml in it replaces the one of the package.")
    flags.DEFINE_string("wordnet", None, "With rules: a WordNet folder for antonyms, /usr/share/wordnet on Debian.")
    flags.DEFINE_float("temperature", 0.1, "Of sampling.", lower_bound=0.0)
    flags.DEFINE_integer("concurrency", 8, "Captions that are worked on at the same time.", lower_bound=1)
    flags.DEFINE_float("timeout", 120.0, "Seconds that one answer may take.", lower_bound=0.1)
    flags.DEFINE_integer("tries", 5, "Times that a request is sent at most (429, 5xx, time-outs).", lower_bound=1)
    flags.DEFINE_integer("rewrites", 2, "Times that a refused text is written again at most.", lower_bound=0)
    flags.DEFINE_bool("retry_failed", False, "Try the failed rows again, and nothing else.")
    flags.DEFINE_string("checkpoint", None, "A CLIP (whatever jaxclip.load takes) for the report's similarities.")
    flags.DEFINE_string("report", None, "The page to write; report.html beside the output if not given.")
    app.run(main, flags_parser=read_flags)
