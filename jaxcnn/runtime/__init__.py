"""What a process needs from its system: settings, oneDNN, files, locks, signals, processes, and a record of them."""
