-- Field entries of the simulator, given as one JSON array; an entry (identifier and revision) that is there stays as it is.
INSERT INTO field_entries (entry_id, revision, tenant_id, well_id, entry_type, gauged_at, entered_at, received_at, data,
                           notes, created_by, device_id)
SELECT e.entry_id, e.revision, t.tenant_id, w.well_id, e.entry_type, e.gauged_at, e.entered_at, e.received_at, e.data,
       e.notes, e.created_by, e.device_id
FROM jsonb_to_recordset(%(entries)s::jsonb) AS e (
         entry_id uuid, revision integer, tenant text, well text, entry_type text, gauged_at timestamptz,
         entered_at timestamptz, received_at timestamptz, data jsonb, notes text, created_by text, device_id text)
LEFT JOIN tenants t ON t.slug = e.tenant
LEFT JOIN wells w ON w.tenant_id = t.tenant_id AND w.name = e.well
ON CONFLICT (entry_id, revision) DO NOTHING
