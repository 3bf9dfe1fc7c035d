"""Check a data set: read every image and report all problems at once."""
