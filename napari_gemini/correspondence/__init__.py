"""Correspondence between two images: warp, losses, quality measures, refinement and embedding.

Conventions, the same everywhere in this package:

* tensors are ``(B, C, *spatial)`` with two or three spatial axes in array order;
* a displacement ``u`` is ``(B, d, *spatial)``, in voxels of the fixed grid, channel ``k`` along
  array axis ``k``, and pulls back: ``warped(p) = moving(p + u(p))``; zero is the identity.

Nothing is imported here, so that the modules without torch stay importable without it.
"""
