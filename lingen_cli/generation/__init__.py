"""Generation of the video of a job: sampling, encoding, the journal, publishing."""
