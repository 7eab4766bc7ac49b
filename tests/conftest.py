"""What all tests share: property tests without deadlines, with the same examples every time."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile(
    "project", deadline=None, derandomize=True, database=None, max_examples=25
)
settings.load_profile("project")
