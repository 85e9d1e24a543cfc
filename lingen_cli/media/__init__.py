"""Video and image files: safe reading, exact writing, contact sheets; torch is never needed."""
