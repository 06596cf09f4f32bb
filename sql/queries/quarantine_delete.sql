UPDATE quarantine
SET original = NULL, resolved_at = clock_timestamp(), resolution = 'deleted', resolved_by = %(who)s,
    resolution_detail = %(why)s
WHERE quarantine_id = ANY (%(ids)s::bigint[]) AND resolved_at IS NULL
RETURNING quarantine_id
