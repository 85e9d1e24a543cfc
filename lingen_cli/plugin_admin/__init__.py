"""Installing and removing plugins, and what can be wrong with their parts."""
