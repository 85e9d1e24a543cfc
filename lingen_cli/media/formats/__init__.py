"""Other formats than mp4 that a finished video is written in."""
