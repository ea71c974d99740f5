"""Fine-tuning: recipe, job, step, loop, checkpoint."""
