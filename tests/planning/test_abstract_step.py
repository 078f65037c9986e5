"""The planned step is the one that training runs."""

import jax
import pytest

from configs.semclip import get_config
from jaxclip.config import parse
from jaxclip.planning.abstract_step import abstract_step, variant
from jaxclip.planning.topology import Topology


@pytest.mark.parametrize("skips", [0, 3])
def test_a_step_that_may_be_skipped_is_planned_as_such(skips):
    """It holds the old state beside the new one."""
    settings = get_config("triplets")
    settings.model.init = "random:ViT-B/32"
    settings.failure.skip_bad_steps = skips
    planned = abstract_step(parse(settings), variant("ViT-B/32"), Topology("one", jax.devices()[:1], None), 14)
    _, metrics = jax.eval_shape(planned.step, planned.state, planned.frozen, planned.batch)
    assert ("skipped" in metrics) == bool(skips)
