"""Everything of a video beside its frames: sound, subtitles, chapters, tags."""
