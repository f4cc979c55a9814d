"""What runs beside the live node: player, check-up of a rig, onlookers, launcher of processes."""
