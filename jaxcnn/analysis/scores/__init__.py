"""Scores of predictions: how right, how sure, how well found, drawn and told apart they are."""
