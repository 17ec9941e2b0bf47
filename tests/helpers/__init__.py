"""Code for several test files: models, readers of state, random programs, loads, and paths."""
