"""What the networks give on scans they were not trained on, and where to cut it."""
