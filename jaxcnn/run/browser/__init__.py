"""A trained run in a browser: a page served by this machine, or a folder that runs the network in the browser."""
