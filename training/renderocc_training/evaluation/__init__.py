"""Scores in the field's own words: small pure functions that add up over frames."""
