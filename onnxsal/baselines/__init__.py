"""Where an explanation starts from: one file is one way to make a baseline."""
