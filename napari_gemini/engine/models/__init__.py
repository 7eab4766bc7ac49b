"""Models on this machine: which there are, where they come from and how they get here."""
