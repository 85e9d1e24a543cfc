"""Scenes to captions, and prompts to what they say."""
