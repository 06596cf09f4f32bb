-- Of the days asked about, those that hold a pumper entry, and how many.
SELECT (gauged_at AT TIME ZONE 'UTC')::date AS day, count(*) AS revisions
FROM field_entries
WHERE gauged_at >= %(start)s AND gauged_at < %(end)s
GROUP BY 1
ORDER BY 1
