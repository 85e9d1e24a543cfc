"""Help texts, examples, hints after errors, and completion of values."""
