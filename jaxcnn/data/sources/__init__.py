"""Sources of images: scikit-learn's digits, drawn glyphs, TFDS sets, image folders and .npz files.

Each takes its name as the user wrote it, the path, and `size`: side or (height, width) in pixels; None: as stored.
"""
