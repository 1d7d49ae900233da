"""Components that register, promote and report."""
