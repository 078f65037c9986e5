"""Objectives: one file a method, each a pure function of embeddings by role.

```python
loss_fn = jaxclip.objectives.build("semclip", n=2)
loss, parts = loss_fn({"image": x, "caption": t, "paraphrase": tp, "negation": tn}, scale)
```
"""

import difflib
import inspect

from jaxclip.objectives.clip import clip
from jaxclip.objectives.conclip import conclip
from jaxclip.objectives.negationclip import negationclip
from jaxclip.objectives.negbench import negbench
from jaxclip.objectives.negclip import negclip
from jaxclip.objectives.objective import Objective
from jaxclip.objectives.omni_negclip import absence, presence
from jaxclip.objectives.semclip import semclip
from jaxclip.objectives.triplet import triplet
from jaxclip.objectives.tripletclip import tripletclip

BUILDERS = {
    "clip": clip,
    "semclip": semclip,
    "presence": presence,
    "absence": absence,
    "conclip": conclip,
    "negclip": negclip,
    "negationclip": negationclip,
    "tripletclip": tripletclip,
    "triplet": triplet,
    "negbench": negbench,
}

__all__ = ["BUILDERS", "Objective", "build"]


def build(name: str, **settings) -> Objective:
    """The objective `name` with its settings.

    Raises:
      ValueError: an unknown name or setting (the error names the near matches), or a setting out of range.
    """
    if name not in BUILDERS:
        near = difflib.get_close_matches(name, BUILDERS)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(BUILDERS)}"
        raise ValueError(f"unknown objective {name!r}; {hint}")
    known = inspect.signature(BUILDERS[name]).parameters
    for setting in settings:
        if setting not in known:
            near = difflib.get_close_matches(setting, known)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
            raise ValueError(f"objective {name!r}: unknown setting {setting!r}; {hint}")
    return BUILDERS[name](**settings)
