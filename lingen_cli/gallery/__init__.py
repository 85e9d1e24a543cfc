"""Gallery: one HTML page that shows many videos, how they were made, and what differs."""
