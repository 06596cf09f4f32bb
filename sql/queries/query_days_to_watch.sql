-- The days of a range that are not watched, or not for certain.
SELECT every.day::date
FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, '1 day') AS every (day)
WHERE NOT EXISTS (SELECT FROM reading_days AS w WHERE w.day = every.day::date AND w.settled_at IS NOT NULL)
ORDER BY every.day
