"""The Train dock: start, follow, stop, resume, predict."""
