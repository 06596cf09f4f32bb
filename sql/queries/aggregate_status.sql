-- Where each aggregate stands; null where nothing was ever materialised.
SELECT relation,
       CASE WHEN isfinite(watermark) THEN watermark END             AS watermark,
       CASE WHEN isfinite(materialised_to) THEN materialised_to END AS materialised_to,
       refreshed_at,
       pending_invalidations::bigint                                AS pending_invalidations
FROM aggregate_status
ORDER BY relation
