"""Sample models: how they are made, and the demonstration."""
