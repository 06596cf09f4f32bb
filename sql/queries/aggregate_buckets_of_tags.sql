-- The buckets of a few tags in a window, to be compared with a recomputation.
SELECT bucket, tag_id, n, n_good, n_uncertain, n_bad, sum, sum_sq, min, max, first, last
FROM {relation}
WHERE tag_id = ANY (%(tags)s) AND bucket >= %(start)s AND bucket < %(end)s
ORDER BY tag_id, bucket
