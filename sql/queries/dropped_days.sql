-- The days whose readings are in the cold tier.
SELECT day FROM reading_days WHERE dropped_at IS NOT NULL ORDER BY day
