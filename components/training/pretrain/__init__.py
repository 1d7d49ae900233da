"""The component pretrain."""
