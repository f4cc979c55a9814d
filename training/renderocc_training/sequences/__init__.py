"""Recorded sequences: one model, a reader for each data-set layout, and the nuScenes writer."""
