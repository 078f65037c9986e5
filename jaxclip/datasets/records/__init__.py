"""From annotated images in any format to records on disk: the one writer that all formats share."""
