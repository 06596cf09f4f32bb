-- The connection of every tag of a tenant, live or retired.
SELECT tag_id, connection_id FROM tags WHERE tenant_id = %(tenant_id)s ORDER BY tag_id
