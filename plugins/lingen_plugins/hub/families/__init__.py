"""One module per family of open weights: its record, and how its pipeline is called."""
