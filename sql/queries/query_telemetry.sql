COPY (
    SELECT bucket, well_id, n, n_good, n_uncertain, n_bad, {columns}
    FROM {relation}
    WHERE tenant_id = %(tenant_id)s AND well_id = ANY (%(wells)s) AND bucket >= %(start)s AND bucket < %(end)s
) TO STDOUT (FORMAT binary)
