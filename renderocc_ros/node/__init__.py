"""The ROS side: messages in, messages out. Nothing outside this folder imports it."""
