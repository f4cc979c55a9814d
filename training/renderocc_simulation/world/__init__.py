"""The town: its plan, its ground, what stands on it and what moves through it."""
