"""Functions of (module, variables, batches) that explain a network."""
