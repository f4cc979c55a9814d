"""What the robot carries: cameras, a spinning LiDAR, odometry."""
