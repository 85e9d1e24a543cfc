"""Inputs that users hand in: requests, prompts, stories, layouts, and times in words."""
