"""One short file a format: from its annotation files to `jaxclip.datasets.records.rows.Annotations`."""
