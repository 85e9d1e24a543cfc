"""What users hand in: prompts, stories, layouts, and times in words; read and checked."""
