"""The `lingen` commands, one file each."""
