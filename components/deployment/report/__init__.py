"""The component report."""
