"""Scans and label maps in and out of files, their geometry, and displacement fields.

Needs numpy, scipy, nibabel and Pillow; SimpleITK is imported only inside the functions that use it.
"""
