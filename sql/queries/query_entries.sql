-- The latest revision of what pumpers wrote down of some wells, by the time it was gauged.
SELECT e.gauged_at, w.name, e.entry_type, e.volume_kind, e.data::text, e.notes, e.created_by, e.entered_at, e.received_at,
       e.revision, e.entry_id::text
FROM field_entries_current AS e
JOIN wells AS w USING (tenant_id, well_id)
WHERE e.tenant_id = %(tenant_id)s AND e.well_id = ANY (%(wells)s) AND e.gauged_at >= %(start)s AND e.gauged_at < %(end)s
ORDER BY e.gauged_at, w.name, e.entry_id
