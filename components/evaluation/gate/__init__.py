"""The component gate."""
