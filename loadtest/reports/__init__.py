"""What a study comes to: summaries over seeds, JSON, markdown and plots."""
