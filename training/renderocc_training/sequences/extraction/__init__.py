"""Recordings turned into a data set in the nuScenes schema."""
