"""Kubeflow components in the four standard categories; each is one function of eve_core with artifacts around it."""
