"""The training loop: recipe in, checkpoint out."""
