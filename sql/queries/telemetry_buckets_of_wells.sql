-- The buckets of a few wells in a window, to be compared with a recomputation.
SELECT {columns}
FROM {relation}
WHERE well_id = ANY (%(wells)s) AND bucket >= %(start)s AND bucket < %(end)s
ORDER BY well_id, bucket
