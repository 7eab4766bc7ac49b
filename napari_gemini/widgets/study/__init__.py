"""The Study dock: cases, labels by hand, drafts."""
