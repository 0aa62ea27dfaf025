"""Reverse chains, one scanned function per sampler."""
