"""The component resolve_data."""
