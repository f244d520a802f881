"""What runs inside a replica's engine."""
