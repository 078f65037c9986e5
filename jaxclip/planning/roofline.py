"""The shortest time that a step can take by a chip's published figures (Williams et al. 2009, the roofline model).

Computing, moving data to and from memory, and sending it to other chips are taken to overlap perfectly, each at its
peak. Real steps take longer; the ratio of the three says what to work on.
"""

import dataclasses

from jaxclip.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds a step by each bound."""

    compute: float
    memory: float
    interconnect: float

    @property
    def seconds(self) -> float:
        """The step: the slowest of the three."""
        return max(dataclasses.astuple(self))

    @property
    def bound(self) -> str:
        """The name of the slowest."""
        return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]


def roofline(chip: Chip, *, flops: float, hbm_bytes: float, sent_bytes: float) -> Roofline:
    """One device's work in one step → seconds by each bound."""
    return Roofline(flops / chip.peak_flops, hbm_bytes / chip.hbm_bandwidth, sent_bytes / chip.interconnect_bandwidth)
