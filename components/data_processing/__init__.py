"""Components that find, fetch and check the data."""
