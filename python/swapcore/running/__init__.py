"""Running workloads: comparisons, replays, recorded cases, stress, and measurements of memory."""
