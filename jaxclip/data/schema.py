"""What a record is.

A record is a dict with `id` (str), `image` (encoded bytes, or a uint8 array [H, W, 3]), and one string for each text
role that the data has. `caption` is always there.
"""

TEXT_ROLES = {
    "caption": "true of the image",
    "paraphrase": "the caption in other words: true of the image",
    "negation": "the caption with something present denied: false of the image",
    "absence": "the caption and the absence of something that is not there: true of the image",
    "false_absence": "the same sentence denying something that is there: false of the image",
    "minimal_absence": "a short sentence with a true absence",
    "minimal_false_absence": "the same short sentence with a false absence",
    "hard_negative": "false of the image, without any negation word",
}
