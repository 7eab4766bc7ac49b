"""Networks of GEMINI: backbone, deformer and heads, in 2D and 3D."""
