"""Components that score and decide."""
