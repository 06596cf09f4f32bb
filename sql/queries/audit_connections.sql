-- The ledger's terms of every connection beside what the tables hold. Connection 0 is what nobody can name any more.
WITH ledger AS (
    SELECT connection_id, sum(received)::bigint AS received, sum(quarantined)::bigint AS quarantined,
           sum(duplicates)::bigint AS duplicates, sum(shed)::bigint AS shed, sum(rows)::bigint AS committed,
           sum(stored)::bigint AS stored, sum(repeated)::bigint AS repeated, sum(replaced)::bigint AS replaced,
           sum(superseded)::bigint AS superseded, sum(poisoned)::bigint AS poisoned,
           -coalesce(sum(quarantined + poisoned) FILTER (WHERE spool_id = %(retries)s), 0)::bigint AS booked
    FROM ingest_ledger GROUP BY connection_id
), kept AS (
    SELECT connection_id,
           count(*) FILTER (WHERE ordinal >= 0 AND resolution IS DISTINCT FROM 'retried') AS in_quarantine,
           count(*) FILTER (WHERE ordinal < 0) AS corrupt,
           count(*) FILTER (WHERE resolution = 'retried') AS retried,
           count(*) FILTER (WHERE resolution = 'deleted') AS deleted,
           count(*) FILTER (WHERE reason = 'fenced' AND resolution IS DISTINCT FROM 'retried') AS fenced
    FROM quarantine GROUP BY connection_id
), warm AS (
    SELECT tags.connection_id, sum(n)::bigint AS in_table
    FROM (SELECT tag_id, count(*) AS n FROM readings GROUP BY tag_id) AS counted
    LEFT JOIN tags USING (tag_id)
    GROUP BY tags.connection_id
), dropped AS (
    -- a day that left the warm tier is proven to be in the cold one: its newest receipts say what is there
    SELECT key::integer AS connection_id, sum(value::bigint)::bigint AS archived
    FROM (
        SELECT DISTINCT ON (m.tenant_id, m.day) m.connections
        FROM archive_manifest AS m
        JOIN reading_days AS d USING (day)
        WHERE d.dropped_at IS NOT NULL AND m.state = 'verified'
        ORDER BY m.tenant_id, m.day, m.watermark DESC, m.receipt_id DESC
    ) AS receipts, jsonb_each_text(connections)
    GROUP BY key
), found AS (
    SELECT connection_id, coalesce(in_table, 0) + coalesce(archived, 0) AS in_table
    FROM warm FULL JOIN dropped USING (connection_id)
), ids AS (
    SELECT connection_id FROM ledger UNION SELECT connection_id FROM kept
    UNION SELECT coalesce(connection_id, 0) FROM found UNION SELECT connection_id FROM scada_connections
)
SELECT coalesce(tenants.slug, '') AS tenant, coalesce(c.name, '') AS connection, ids.connection_id,
       coalesce(received, 0), coalesce(quarantined, 0), coalesce(duplicates, 0), coalesce(shed, 0),
       coalesce(committed, 0), coalesce(stored, 0), coalesce(repeated, 0), coalesce(replaced, 0),
       coalesce(superseded, 0), coalesce(poisoned, 0), coalesce(in_table, 0), coalesce(in_quarantine, 0),
       coalesce(corrupt, 0), coalesce(retried, 0), coalesce(booked, 0), coalesce(deleted, 0), coalesce(fenced, 0)
FROM ids
LEFT JOIN scada_connections AS c USING (connection_id)
LEFT JOIN tenants USING (tenant_id)
LEFT JOIN ledger USING (connection_id)
LEFT JOIN kept USING (connection_id)
LEFT JOIN found ON coalesce(found.connection_id, 0) = ids.connection_id
ORDER BY tenant, connection, connection_id
