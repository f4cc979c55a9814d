"""Data sets in their own layouts, as drives that can be extracted like recordings."""
