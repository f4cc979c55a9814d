"""The result: its type, and the same as messages, point cloud, markers and files."""
