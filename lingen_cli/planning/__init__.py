"""What a video will need, before its networks are read: memory, disk and time."""
