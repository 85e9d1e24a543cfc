"""Single images, as files and as arrays: reading, writing, turning, scaling, contact sheets."""
