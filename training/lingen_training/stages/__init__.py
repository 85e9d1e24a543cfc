"""Training stages and their losses."""
