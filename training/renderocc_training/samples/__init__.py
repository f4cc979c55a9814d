"""Frames of a sequence as samples that the trainer takes, whatever they were recorded with."""
