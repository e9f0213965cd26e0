"""What a run says: its figures and its summary, read from the tables in the run folder."""
