"""The figures of figure.py: those of the paper, and denoising beside plain filters."""
