"""Readers of public sets in their own on-disk forms, one module a set; each yields `Annotation`s."""
