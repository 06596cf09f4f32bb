-- How many revisions a tenant has, and when the newest came: revisions are added and never changed.
SELECT count(*), max(received_at) FROM field_entries WHERE tenant_id = %(tenant_id)s
