"""Recordings, labels and training for ``renderocc_ros``; nothing here is needed on the robot."""
