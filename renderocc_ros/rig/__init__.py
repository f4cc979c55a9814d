"""From the messages of N cameras to one set of images with one pose each. No ROS in here."""
