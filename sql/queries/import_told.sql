-- What the ledger says of an import, over all its runs.
SELECT coalesce(sum(received), 0)::bigint, coalesce(sum(stored), 0)::bigint, coalesce(sum(repeated), 0)::bigint,
       coalesce(sum(replaced), 0)::bigint, coalesce(sum(superseded), 0)::bigint, coalesce(sum(duplicates), 0)::bigint,
       coalesce(sum(quarantined), 0)::bigint, coalesce(sum(poisoned), 0)::bigint
FROM ingest_ledger WHERE spool_id = %(spool_id)s
