"""What several test files share: models, readers of state, random programs, and where files are."""
