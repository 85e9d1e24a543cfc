"""From noise to latents: schedules, solvers, guidance, windows over long videos."""
