"""Labelled pixels of several frames become rays in one ego frame, drawn with a fixed budget."""
