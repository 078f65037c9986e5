"""What a record is.

A record is a dict with `id` (str), one image for each image role that the data has (encoded bytes, or a uint8 array
[H, W, 3]), and one string for each text role that it has. `image` is always there. Further keys are facts of one
benchmark, such as the right answer of a multiple-choice question.
"""

IMAGE_ROLES = {
    "image": "the caption is true of it",
    "distractor_image": "the negation is true of it, the caption is false",
    "hard_image": "another image that looks like it, with a caption of its own (NegCLIP)",
}

TEXT_ROLES = {
    "caption": "true of the image",
    "paraphrase": "the caption in other words: true of the image",
    "negation": "the caption with something present denied: false of the image",
    "absence": "the caption and the absence of something that is not there: true of the image",
    "false_absence": "the same sentence denying something that is there: false of the image",
    "minimal_absence": "a short sentence with a true absence",
    "minimal_false_absence": "the same short sentence with a false absence",
    "hard_negative": "false of the image, without any negation word",
    "hard_caption": "true of the hard image",
    "hard_negation": "the hard image's caption made false: false of the hard image",
    "option_0": "the first answer of a multiple-choice question about the image; the key `answer` is the right one",
    "option_1": "the second answer",
    "option_2": "the third answer",
    "option_3": "the fourth answer",
}
