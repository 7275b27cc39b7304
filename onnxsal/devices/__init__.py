"""Where tensors are computed: one file is one kind of device."""
