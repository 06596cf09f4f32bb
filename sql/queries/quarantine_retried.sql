UPDATE quarantine AS q
SET resolved_at = clock_timestamp(), resolution = 'retried', resolved_by = %(who)s, resolution_detail = f.outcome
FROM unnest(%(ids)s::bigint[], %(outcomes)s::text[]) AS f (quarantine_id, outcome)
WHERE q.quarantine_id = f.quarantine_id
