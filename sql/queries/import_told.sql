-- What the ledger says of an import, over all its runs.
SELECT coalesce(sum(received), 0)::bigint AS received, coalesce(sum(stored), 0)::bigint AS stored,
       coalesce(sum(repeated), 0)::bigint AS repeated, coalesce(sum(replaced), 0)::bigint AS replaced,
       coalesce(sum(superseded), 0)::bigint AS superseded, coalesce(sum(duplicates), 0)::bigint AS duplicates,
       coalesce(sum(quarantined), 0)::bigint AS quarantined, coalesce(sum(poisoned), 0)::bigint AS poisoned
FROM ingest_ledger
WHERE spool_id = %(spool_id)s
