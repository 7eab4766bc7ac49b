"""The commands of ``napari-gemini``, one file for each.

Nothing here imports torch, nibabel or a study at import time: ``--help`` answers at once, and a
command imports what it needs when it runs.
"""
