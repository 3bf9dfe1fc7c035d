"""jaxcnn: at one budget, should a CNN be deeper or wider? Public names, loaded when first used."""
