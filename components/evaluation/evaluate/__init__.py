"""The component evaluate."""
