"""Scoring a candidate and the champion on the same held-out items, and the gate that judges them."""
