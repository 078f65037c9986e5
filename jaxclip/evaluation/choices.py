"""Multiple choice: of several texts the one that is true of an image, or of several boxes the one that a text means.

Every function returns one outcome an item, [n] bool. The right choice must beat every other one: a tie is wrong, and so
is NaN among the scores. That matters where the files put the right answer first, as NegBench and NegRefCOCOg do: an
`argmax` would take the first of equals and call a collapsed model perfect.

Shapes: n items, C choices, D embedding.
"""

import numpy as np

from jaxclip.evaluation.similarity import beats, cosine


def right_choice(query: np.ndarray, choices: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Whether the query is closer to the right choice than to each other one: [n] bool.

    With an image as query and sentences as choices this is NegBench's multiple choice (Alhamoud et al. 2025, arXiv
    2501.09425); with a phrase and the crops of an image's boxes it is NegRefCOCOg (NegationCLIP, arXiv 2501.10913).

    Args:
      query: [n, D].
      choices: [n, C, D], C of at least 2.
      answers: [n] integers below C.

    Raises:
      ValueError: if the shapes do not fit or an answer is no choice.
    """
    choices, answers = np.asarray(choices), np.asarray(answers)
    n, C = choices.shape[:2]
    if C < 2 or answers.shape != (n,) or not np.issubdtype(answers.dtype, np.integer):
        raise ValueError(f"expected {n} integer answers to 2 or more choices, found {C} choices, {answers!r:.80}")
    strays = np.flatnonzero((answers < 0) | (answers >= C))
    if strays.size:
        raise ValueError(f"answer {answers[strays[0]]} of item {int(strays[0])} is none of the {C} choices")
    scores = np.stack([cosine(query, choices[:, choice]) for choice in range(C)], axis=1)
    items = np.arange(n)
    own = scores[items, answers]
    scores[items, answers] = -np.inf
    return beats(own, scores.max(axis=1))
