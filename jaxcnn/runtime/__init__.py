"""What a process needs from its system: backend flags, files, locks, signals, processes, and a record of them."""
