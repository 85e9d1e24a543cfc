"""Many videos from one list of jobs: here, in several processes, on Ray or with Slurm."""
