"""Scans on the canvas: their grid, layers, orientation letters and world read-out."""
