"""Networks of different depth at one budget."""
