"""Training: the one loop and what it needs: batches, rates, checkpoints, telemetry."""
