"""Train the runs of a study: one worker, several, a cluster."""
