"""Scores of segmentations and correspondences, their statistics, and the reports made of them."""
