"""Which elements of the inputs are one feature: one file is one way to cut inputs into features."""
