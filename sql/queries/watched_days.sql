-- The days whose changes are noted.
SELECT day FROM reading_days ORDER BY day
