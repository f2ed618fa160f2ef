"""Several models, one answer: fan-out, vote, pipeline, debate."""
