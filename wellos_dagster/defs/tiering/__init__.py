"""The tiers in the asset graph: hot, warm, cold, what they cost and how they fare."""
