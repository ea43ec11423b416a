"""Simulated galaxies with simulated volunteers, whose truth is known."""

from gzfound.simulation.dataset import read_truth, simulate_dataset

__all__ = ["read_truth", "simulate_dataset"]
