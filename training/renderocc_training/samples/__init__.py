"""Frames of a drive as samples that the trainer takes, whatever they were recorded with."""
