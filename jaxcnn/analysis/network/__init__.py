"""Inside a trained network: its layers, what they see and how its loss bends."""
