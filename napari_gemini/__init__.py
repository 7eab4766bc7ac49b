"""Label five scans, get labels for all the rest, and see whether to trust them.

napari-gemini learns topology-preserving correspondence between scans of one anatomy (GEMINI,
arXiv 2502.05282). This module imports nothing heavy; the work is in the subpackages.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-gemini")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
