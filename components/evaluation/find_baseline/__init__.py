"""The component find_baseline."""
