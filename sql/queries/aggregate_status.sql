-- Where each aggregate stands.
SELECT relation, watermark, materialised_to, refreshed_at, pending_invalidations
FROM aggregate_status
ORDER BY relation
