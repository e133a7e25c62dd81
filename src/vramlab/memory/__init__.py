"""The memory of a device: a meter, a cap, and what to do where it runs out."""
