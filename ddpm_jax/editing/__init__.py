"""Pictures changed by an unconditional model: filled in, redrawn, restored."""
