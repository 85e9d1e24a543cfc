"""Memory, disk and time that a video will need, before its networks are read."""
