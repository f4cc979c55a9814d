"""Commands of the simulator, see renderocc_ros.cli."""
