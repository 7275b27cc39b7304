"""The attribution methods: one file is one method."""
