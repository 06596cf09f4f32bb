-- Days up to a bound that are still in the warm tier, oldest first: those with a chunk or partition, and those without
-- readings that are archived. Other days without readings have nothing that could leave, watched or not.
SELECT every.day
FROM (SELECT day FROM days_of_readings() AS day
      UNION
      SELECT day FROM archive_manifest WHERE store = %(store)s AND state = 'verified') AS every
WHERE every.day <= %(last)s
  AND NOT EXISTS (SELECT FROM reading_days AS d WHERE d.day = every.day AND d.dropped_at IS NOT NULL)
ORDER BY every.day
