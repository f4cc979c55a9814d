"""Recordings: bags read and written without ROS, and data sets turned into bags and back."""
