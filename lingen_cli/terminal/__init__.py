"""The terminal and what else a run talks to: lines, progress, events, log file, signals."""
