"""The output: an append-only file of accepted rows, and beside it one of failed rows; each row whole or not at all.

A row is one `write` of one line. What a killed process left half-written is cut off when the file is opened again, so
a row is either in one of the files or still to be made.
"""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxclip.data.schema import TEXT_ROLES
from jaxclip.files import write_atomically
from jaxclip.generation.captions import Caption
from jaxclip.generation.errors import GenerateError
from jaxclip.generation.outcome import Outcome


def failed_path(path: Path) -> Path:
    """Where the failed rows of an output file are kept: triplets.jsonl → triplets.failed.jsonl."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All whole rows of an output file; none where there is no file.

    Raises:
        GenerateError: a line that no run has written.
    """
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(_whole_lines(path.read_bytes()).splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise GenerateError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict) or not {"id", "image", "caption", "made_by", "refused"} <= row.keys():
            raise GenerateError(f"{path}, line {number}: not a row of an earlier run; give another --output")
        rows.append(row)
    return rows


class Output:
    """Both files, open for this run alone.

    Attributes:
        accepted: id → role → text, of the rows that are done.
        failed: id → row, of those that failed.
    """

    def __init__(self, path: Path, captions: Sequence[Caption], roles: Sequence[str], made_by: Mapping[str, Any]):
        """Opens the files, or makes them, and reads what is in them.

        Args:
            path: of the accepted rows, a .jsonl file.
            captions: of this run: rows in the files must come from them.
            roles: that rows of this run have.
            made_by: who writes them.

        Raises:
            GenerateError: another process writes the file, or it holds rows of other captions, roles or models.
        """
        self._path, self._made_by = path, dict(made_by)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._accepted_file = _open_alone(path)
        texts = {caption.id: (caption.image, caption.text) for caption in captions}
        _cut_half_row(self._accepted_file)
        self.accepted = {}
        for number, row in enumerate(read_rows(path), start=1):
            _check_row(f"{path}, line {number}", row, texts, self._made_by)
            if found := sorted({*roles} ^ (row.keys() & TEXT_ROLES.keys() - {"caption"})):
                raise GenerateError(
                    f"{path}, line {number}: differs from this run in the role {found[0]!r}, and all rows of a file "
                    "need the same; give the --roles of the earlier run, or another --output"
                )
            self.accepted[row["id"]] = {role: row[role] for role in roles}
        rows = read_rows(failed_path(path))
        self.failed = {row["id"]: row for row in rows if row["id"] not in self.accepted}
        for row in self.failed.values():
            _check_row(str(failed_path(path)), row, texts, self._made_by)
        self._write_failed()
        self._failed_file = os.open(failed_path(path), os.O_WRONLY | os.O_APPEND)

    def add(self, outcome: Outcome) -> None:
        """Appends one row to the file that it belongs to."""
        row = outcome.row(self._made_by)
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        if outcome.reason is None:
            _write_all(self._accepted_file, line)
            self.accepted[outcome.caption.id] = outcome.texts
            self.failed.pop(outcome.caption.id, None)
        else:
            _write_all(self._failed_file, line)
            self.failed[outcome.caption.id] = row

    def close(self) -> None:
        """Forces everything to disk; of rows that were tried again, only the last state is kept."""
        os.fsync(self._accepted_file)
        os.close(self._failed_file)
        self._write_failed()
        os.close(self._accepted_file)

    def _write_failed(self) -> None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self.failed.values()]
        write_atomically(failed_path(self._path), "".join(lines).encode("utf-8", "backslashreplace"))


def _open_alone(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise GenerateError(f"{path}: another run is writing this file; give another --output, or wait") from None
    return file


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _cut_half_row(file: int) -> None:
    size = os.fstat(file).st_size
    content = b""
    while len(content) < size:
        content += os.pread(file, size - len(content), len(content))
    os.ftruncate(file, len(_whole_lines(content)))


def _write_all(file: int, line: bytes) -> None:
    while line:
        line = line[os.write(file, line) :]


def _check_row(
    place: str, row: Mapping[str, Any], texts: Mapping[str, tuple[str, str]], made_by: Mapping[str, Any]
) -> None:
    if texts.get(row["id"]) != (row["image"], row["caption"]):
        raise GenerateError(
            f"{place}: the id {row['id']!r} is of another caption than in --captions: {row['caption']!r:.80}; give the "
            "captions of the earlier run, or another --output"
        )
    for key, value in made_by.items():
        if (found := (row.get("made_by") or {}).get(key)) != value:
            raise GenerateError(
                f"{place}: was made with {key} {found!r}, this run has {value!r}; give another --output"
            )
