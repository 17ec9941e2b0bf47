"""Results of runs: frozen dataclasses with tables for people, and JSON for programs."""
