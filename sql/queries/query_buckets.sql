COPY (
    SELECT bucket, tag_id, n, n_good, n_uncertain, n_bad, coalesce(sum, 'NaN'), coalesce(sum_sq, 'NaN'),
           coalesce(min, 'NaN'), coalesce(max, 'NaN'), coalesce(first, 'NaN'), coalesce(last, 'NaN')
    FROM {relation}
    WHERE tag_id = ANY (%(tags)s) AND bucket >= %(start)s AND bucket < %(end)s
) TO STDOUT (FORMAT binary)
