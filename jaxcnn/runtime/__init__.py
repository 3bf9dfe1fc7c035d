"""What a process needs from its system: flags of the backend, files, signals, locks, the environment it runs in."""
