"""The component validate_data."""
