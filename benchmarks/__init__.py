"""Speed and memory, as ratios measured in one run; results in RESULTS.md."""
