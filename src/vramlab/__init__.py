"""vramlab: what each memory-saving training technique gives, and what it costs."""

__version__ = "0.1.0"
