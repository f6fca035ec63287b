"""Training one network: what is lowered, by which steps, and what is kept."""
