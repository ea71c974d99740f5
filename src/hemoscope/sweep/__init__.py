"""Many runs: which ones (`plan`), the unit of work (`one`), and where it is done: `local`, `on_ray`, `on_slurm`."""
