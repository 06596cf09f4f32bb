-- Field entries by the day they are for, of those that reached us in a window.
SELECT (gauged_at AT TIME ZONE 'UTC')::date AS day,
       count(*) AS revisions,
       count(DISTINCT entry_id) AS entries,
       count(DISTINCT well_id) AS wells,
       max(received_at) AS newest
FROM field_entries
WHERE received_at >= %(since)s AND received_at < %(until)s
GROUP BY day
ORDER BY day
