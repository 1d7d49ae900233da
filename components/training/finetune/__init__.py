"""The component finetune."""
