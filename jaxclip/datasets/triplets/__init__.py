"""Your own captions, paraphrases and negations of images: a CSV, TSV or JSONL file beside a folder of images."""
