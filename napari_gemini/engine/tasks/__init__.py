"""What the jobs do: one file a job, imported when it runs (these need torch)."""
