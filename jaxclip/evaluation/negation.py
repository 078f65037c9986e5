"""Does the model tell a true sentence from a false one of nearly the same words?

Every function returns one outcome an item, [n] bool. Comparisons are strict: a tie is wrong, and so is NaN.

Shapes: n items, D embedding; row i of every argument belongs to item i.
"""

import numpy as np

from jaxclip.evaluation.similarity import beats, cosine


def true_over_false(image: np.ndarray, true_text: np.ndarray, false_text: np.ndarray) -> np.ndarray:
    """Whether the image is closer to a sentence that is true of it than to one that is false.

    With the caption and its negation this is "original over negation" (SemCLIP, arXiv 2511.16527); with a true
    absence and a false absence of the same surface form it is the absence accuracy, which a model cannot win by
    shunning the word "no".

    Args:
      image: [n, D].
      true_text: [n, D].
      false_text: [n, D].
    """
    return beats(cosine(image, true_text), cosine(image, false_text))


def image_text_text(image: np.ndarray, caption: np.ndarray, paraphrase: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """ITT of SugarCrepe++ (Dumpala et al., 2024): the image is closer to caption AND paraphrase than to the negative.

    Args:
      image: [n, D].
      caption: [n, D].
      paraphrase: [n, D].
      negative: [n, D] a sentence that is false of the image.
    """
    return true_over_false(image, caption, negative) & true_over_false(image, paraphrase, negative)


def text_only_test(caption: np.ndarray, paraphrase: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """TOT of SugarCrepe++ (Dumpala et al., 2024): caption and paraphrase are closer to each other than to the negative.

    Args:
      caption: [n, D].
      paraphrase: [n, D].
      negative: [n, D] a sentence that contradicts both.
    """
    together = cosine(caption, paraphrase)
    return beats(together, cosine(caption, negative)) & beats(together, cosine(paraphrase, negative))
