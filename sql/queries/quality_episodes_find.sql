-- Episodes of quality, the newest first; a condition that is null does not count.
SELECT event_id, tenant, well_name, connection_name, tag_name, unit, check_name, severity, state, started_at, ended_at,
       evidence
FROM quality_episodes
WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s::text)
  AND (%(well)s::text IS NULL OR well_name = %(well)s::text)
  AND (%(tag)s::text IS NULL OR tag_name = %(tag)s::text)
  AND (%(check)s::text IS NULL OR check_name = %(check)s::text)
  AND (%(since)s::timestamptz IS NULL OR coalesce(ended_at, 'infinity') >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR started_at < %(until)s::timestamptz)
  AND (NOT %(open)s::boolean OR state = 'open')
ORDER BY started_at DESC, event_id DESC
LIMIT %(limit)s
