"""The protocol core, without a socket."""
