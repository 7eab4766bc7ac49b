"""The napari docks; nothing here imports torch."""
