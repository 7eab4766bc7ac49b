"""The Review dock: every case or pair by its evidence."""
