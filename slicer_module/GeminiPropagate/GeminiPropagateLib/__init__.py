"""Library of the module GeminiPropagate; nothing is imported or done when the module loads."""
