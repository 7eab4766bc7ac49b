"""A study on disk: cases, label scheme, hand-made labels with history, splits, review."""
