"""Experiments that repeat the GEMINI paper's tables and figures in small: ``docs/evidence.md``."""
