"""Everything of a video beside its pictures: sound, subtitles, chapters, tags."""
