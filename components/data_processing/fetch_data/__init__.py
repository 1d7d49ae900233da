"""The component fetch_data."""
