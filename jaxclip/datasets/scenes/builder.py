"""The scenes as a TFDS data set: the same records as source.py makes, written to disk as ArrayRecord.

Needs no TensorFlow. Encoded images and texts come back as bytes:

    builder = prepare("data/tfds")
    records = builder.as_data_source(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    records[0]["image"]      # PNG bytes
    records[0]["caption"]    # UTF-8 bytes
"""

import dataclasses
import io
import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from tqdm import trange

from jaxclip.datasets.scenes.contrasts import TEXTS
from jaxclip.datasets.scenes.source import IMAGES, SPLITS, scene_record
from jaxclip.datasets.scenes.world import IMAGE_SIZE
from jaxclip.datasets.tfds_build import prepare_builder

_SETTINGS = {"seed": 0, "train_size": 1, "validation_size": 1, "test_size": 1}  # and the least value of each


@dataclasses.dataclass(kw_only=True)
class ScenesConfig(tfds.core.BuilderConfig):
    """Settings of the data set; its name, which names the folder, is derived from them.

    Attributes:
        seed: of all splits.
        train_size: number of training records.
        validation_size: number of records in each of the two validation splits.
        test_size: number of records in each of the three test splits.
    """

    name: str = ""
    seed: int = 0
    train_size: int = 5000
    validation_size: int = 512
    test_size: int = 1024

    def __post_init__(self):
        for key, least in _SETTINGS.items():
            value = getattr(self, key)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"scenes: {key} is {value!r}; expected a whole number of at least {least}")
        self.name = f"seed{self.seed}_train{self.train_size}_validation{self.validation_size}_test{self.test_size}"

    def split_size(self, split: str) -> int:
        """Number of records in a split."""
        return {
            "train": self.train_size,
            "validation": self.validation_size,
            "validation_templates": self.validation_size,
        }.get(split, self.test_size)


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Coloured shapes with captions, paraphrases, negations and absences that are true or false by construction."""

    VERSION = tfds.core.Version("2.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(IMAGE_SIZE, IMAGE_SIZE, 3), encoding_format="png")
        text, number = tfds.features.Text(), tfds.features.Scalar(np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "id": text,
                    **dict.fromkeys(IMAGES, image),
                    **dict.fromkeys(TEXTS, text),
                    "objects": tfds.features.Sequence(
                        {
                            **dict.fromkeys(("shape", "colour", "size"), text),
                            **dict.fromkeys(("x", "y", "radius"), number),
                        }
                    ),
                    "shape": text,
                    "colour": text,
                }
            ),
            disable_shuffling=True,  # record i on disk is record i of scene_record
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        # disable=None: no bar where the output is not a terminal.
        size = self.builder_config.split_size(split)
        for index in trange(size, desc=f"scenes/{split}", unit=" records", disable=None):
            record = scene_record(self.builder_config.seed, index, split)
            # As a file object a PNG is stored as it is; bytes alone would be taken for an image to encode.
            yield index, record | {role: io.BytesIO(record[role]) for role in IMAGES}


def prepare(data_dir: str | os.PathLike, **settings: int) -> Scenes:
    """Builds the data set unless it is there already.

    Args:
        data_dir: root folder of TFDS data sets; the records go to scenes/CONFIG/VERSION below it, appearing there only
            when complete. Several processes may call this at once.
        **settings: fields of ScenesConfig: seed, train_size, validation_size, test_size.

    Returns:
        The builder, ready for `as_data_source`.

    Raises:
        ValueError: for an unknown or impossible setting.
    """
    unknown = sorted(set(settings) - set(_SETTINGS))
    if unknown:
        raise ValueError(f"scenes: unknown setting {', '.join(unknown)}; expected some of {', '.join(_SETTINGS)}")
    config = ScenesConfig(**settings)

    return prepare_builder(lambda: Scenes(config=config, data_dir=os.fspath(data_dir), file_format="array_record"))
