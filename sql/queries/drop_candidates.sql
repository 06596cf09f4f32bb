-- Days before a bound that are watched and not dropped and have a receipt in force in the store, oldest first.
SELECT d.day
FROM reading_days AS d
WHERE d.dropped_at IS NULL AND d.day <= %(last)s AND coalesce(d.keep_until, '-infinity') <= %(now)s
  AND EXISTS (SELECT FROM archive_manifest AS m WHERE m.day = d.day AND m.store = %(store)s AND m.state = 'verified')
ORDER BY d.day
