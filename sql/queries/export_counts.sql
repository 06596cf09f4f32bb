-- The tags of a tenant, retired ones too, their connections, and how many readings each has in a window.
SELECT t.tag_id, t.connection_id, coalesce(r.rows, 0)
FROM tags AS t
LEFT JOIN (
    SELECT tag_id, count(*) AS rows FROM readings
    WHERE time >= %(since)s AND time < %(until)s
    GROUP BY tag_id
) AS r USING (tag_id)
WHERE t.tenant_id = %(tenant)s
ORDER BY t.tag_id
