"""Token rows against OpenCLIP's tokenizer, which calls the two special tokens otherwise: none is spelled out."""

import json

import numpy as np
import pytest
from reference_libraries import open_clip_or_skip
from weights_inputs import DATA

from jaxclip.data.tokenizer import Tokenizer

TEXTS = {
    "no word": ["", " ", "\n\t"],
    "one word": ["cat", "CAT!", "catamaran's"],
    "100 words": ["word " * 100, "a street without cars, " * 25],
    "truncation": ["cat " * count for count in (74, 75, 76)],
    "accents": ["café cafe\u0301 naïve Übergröße İstanbul ΣΊΣΥΦΟΣ", "日本語 العربية हिन्दी ไทย"],
    "emoji": ["\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f :-)"],
    "HTML": ["Tom &amp; Jerry &amp;lt;b&amp;gt; &eacute;t&#233; &nosuchentity; <i>x</i>"],
    "mis-decoded": ["schÃ¶n â€œquotedâ€\x9d ﬁne ｆｕｌｌ “curly” l’été"],
    "end of word": ["</w> a</w>b"],
}


@pytest.mark.parametrize("kind", [*TEXTS, "SugarCrepe++"])
def test_rows_are_those_of_open_clip(kind):
    open_clip = open_clip_or_skip()
    if kind in TEXTS:
        texts = TEXTS[kind]
    else:
        items = [
            item for path in sorted((DATA / "sugarcrepe_pp").glob("*.json")) for item in json.loads(path.read_text())
        ]
        if not items:
            pytest.skip("no texts: shared/data/sugarcrepe_pp is missing")
        assert len(items) == 4757
        texts = [item[role] for item in items for role in ("caption", "caption2", "negative_caption")]
    np.testing.assert_array_equal(Tokenizer.clip()(texts), open_clip.tokenizer.SimpleTokenizer()(texts).numpy())
