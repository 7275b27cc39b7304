"""How good is an explanation? One file is one measure."""
